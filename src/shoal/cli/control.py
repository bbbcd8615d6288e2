"""``shoal control``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from shoal.boxes.logs import visible
from shoal.cli.options import Json, Store
from shoal.cli.reaching import Reach, Url, Way, answered, json_of
from shoal.cli.show import document
from shoal.errors import RequestError

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


All = Annotated[bool, typer.Option("--all", help="Every instance of the service, a line or a key for each.")]


def control(
    agent: Target,
    action: Action,
    data: Data = None,
    all: All = False,
    url: Url = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Control a service, and print its answer. It works while the service is busy or paused.

    Of a service with several instances it takes the first, and says which; --all takes each of them, and goes on when one
    refuses. Whoever may write to the store controls what runs on it. With --url it goes over a registry, which wants a
    token of the role admin in SHOAL_REGISTRY_TOKEN. Drain and shutdown let requests under way end within
    {"grace": SECONDS}. Exit codes beside those below: 4 an error was the answer, 5 no answer in time; 2 also when nobody
    is there.

    \b
    Example:
      shoal control worker_0 update_config '{"config": {"factor": 3}}'
      shoal control worker pause --all
    """
    given = None if data is None else json_of(data)

    async def order(services: Reach) -> int:
        instances = await services.called(agent)
        if all and instances:
            await _each(services, instances, action, given, json)
            return 0
        chosen = instances[0] if instances else agent
        _show(await services.control(chosen, action, given), json)
        if len(instances) > 1:
            text = f"this was {chosen}, one of {len(instances)} instances; --all takes each of them"
            print(f"shoal: {visible(text)}", file=sys.stderr)
        return 0

    return asyncio.run(answered(Way(url=url, store=store, target=agent), order))


async def _each(services: Reach, instances: Sequence[str], action: str, data: Any, json: bool) -> None:
    """Control all of them. Raises the RequestError of the first that refused when all have been asked."""
    answers: dict[str, Any] = {}
    refusal: RequestError | None = None
    for instance in instances:
        try:
            answers[instance] = await services.control(instance, action, data)
        except RequestError as error:
            refusal = refusal or error
    if json or any(not isinstance(answer, str) for answer in answers.values()):
        document(answers)
    else:
        for instance, answer in answers.items():
            print(f"{visible(instance)}: {visible(answer)}")
    if refusal is not None:
        raise refusal


def _show(answer: Any, json: bool) -> None:
    if json or not isinstance(answer, str):
        document(answer)
    else:
        print(visible(answer))
