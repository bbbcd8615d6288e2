"""``shoal control``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from shoal.boxes.logs import visible
from shoal.cli.options import Json, Store
from shoal.cli.reaching import Reach, Url, Way, answered, json_of
from shoal.cli.show import document

__all__ = ["control"]

Target = Annotated[str, typer.Argument(metavar="AGENT", help="An instance, an id, or a service's name.")]
Action = Annotated[
    str,
    typer.Argument(
        metavar="ACTION",
        help="pause, resume, status, update_config, health, drain, shutdown, or one of the service's own.",
    ),
]
Data = Annotated[
    str | None, typer.Argument(metavar="JSON", help="What goes with it; @FILE: from a file; -: standard input.")
]


def control(
    agent: Target, action: Action, data: Data = None, url: Url = None, store: Store = None, json: Json = False
) -> int:
    """Control a service, and print its answer. It works while the service is busy or paused.

    Whoever may write to the store controls what runs on it. With --url it goes over a registry, which wants a token of
    the role admin in SHOAL_REGISTRY_TOKEN. Drain and shutdown let requests under way end within {"grace": SECONDS}.
    Exit codes beside those below: 4 an error was the answer, 5 no answer in time; 2 also when nobody is there.

    \b
    Example:
      shoal control worker_0 update_config '{"config": {"factor": 3}}'
    """
    given = None if data is None else json_of(data)

    async def order(services: Reach) -> int:
        answer = await services.control(agent, action, given)
        if json or not isinstance(answer, str):
            document(answer)
        else:
            print(visible(answer))
        return 0

    return asyncio.run(answered(Way(url=url, store=store, target=agent), order))
