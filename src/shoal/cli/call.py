"""``shoal call``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from shoal.cli.options import Store, seconds
from shoal.cli.reaching import Question, Reach, Url, Way, answered, json_of
from shoal.cli.show import document
from shoal.errors import ConfigError

__all__ = ["call"]

Target = Annotated[str, typer.Argument(metavar="AGENT", help="A service's name, an instance, or an id.")]
Payload = Annotated[str, typer.Argument(metavar="JSON", help="A JSON object; @FILE: from a file; -: standard input.")]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="Give up after so long, as 90s or 500ms.")]
Key = Annotated[str | None, typer.Option(metavar="TEXT", help="Requests with the same key go to the same instance.")]
Idempotent = Annotated[
    bool, typer.Option("--idempotent", help="Twice does no harm: when one dies over it, another is asked.")
]
Word = Annotated[bool, typer.Option("--capability", help="AGENT is a capability: any service that has it is asked.")]


def call(
    agent: Target,
    payload: Payload,
    timeout: Timeout = "30s",
    key: Key = None,
    idempotent: Idempotent = False,
    capability: Word = False,
    url: Url = None,
    store: Store = None,
) -> int:
    """Ask a service, and print its answer as JSON.

    It is asked beside its runtime, on the same store, or with --url over a registry; its token is taken from
    SHOAL_REGISTRY_TOKEN. What the service refuses is told on standard error: the code, the message, and the details as
    JSON. Exit codes beside those below: 4 an error was the answer, 5 no answer in time; 2 also when nobody is there.

    \b
    Example:
      shoal call square '{"n": 4}'
    """
    body = json_of(payload)
    if not isinstance(body, dict):
        raise ConfigError("a request is a JSON object", note="""Write '{"n": 2}'.""")
    limit = seconds(timeout)
    if limit <= 0:
        raise ConfigError(f"--timeout {timeout!r:.40} leaves no time", note="Write 90s, or 500ms.")
    question = Question(
        target=agent, payload=body, timeout=limit, key=key, idempotent=idempotent, capability=capability
    )

    async def ask(services: Reach) -> int:
        document(await services.ask(question))
        return 0

    way = Way(url=url, store=store, target=agent, capability=capability)
    return asyncio.run(answered(way, ask))
