"""``shoal discover``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from shoal.boxes.logs import visible
from shoal.cli.options import Json, Store
from shoal.cli.reaching import Reach, Url, Way, answered
from shoal.cli.show import clip, document, table
from shoal.services.info import AgentRecord, AgentType

__all__ = ["discover"]

Words = Annotated[list[str] | None, typer.Argument(metavar="CAPABILITY...", help="Only those that can do all of this.")]
All = Annotated[bool, typer.Option("--all", help="Also those that do not answer now: paused, ill, failed, clients.")]


def discover(
    capabilities: Words = None,
    type: Annotated[AgentType | None, typer.Option(help="Only those of this type.")] = None,
    all: All = False,
    url: Url = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """List the services that answer now, by registration.

    They are read beside the running runtimes, from their store, or with --url from a registry; its token is taken from
    SHOAL_REGISTRY_TOKEN. LOAD is what waits and runs over what can run at once, HEALTH is 0 to 100, NODE the name of the
    node as in `shoal nodes` (from a registry, and with --json, its id).

    \b
    Example:
      shoal discover math
    """
    words = [word.strip().casefold() for word in capabilities or ()]

    async def look(services: Reach) -> int:
        found = await (services.known() if all else services.serving(words))
        found = [each for each in found if set(words) <= set(each.capabilities) and type in (None, each.type)]
        if json:
            document(found)
        else:
            columns = ("instance", "name", "version", "capabilities", "state", "load", "health", "pid", "node")
            empty = "no services" if all else "no services answer"
            nodes = services.node_names()
            table(columns, [_row(record, nodes) for record in found], empty=empty)
        return 0

    return asyncio.run(answered(Way(url=url, store=store), look))


def _row(record: AgentRecord, nodes: Mapping[str, str]) -> tuple[object, ...]:
    node = "outside" if record.node is None else nodes.get(record.node) or record.node
    return (
        visible(record.instance),
        visible(clip(record.name, 30)),
        visible(clip(record.version, 20)),
        visible(clip(" ".join(record.capabilities))),
        visible(record.state),
        f"{record.load:.2f}".rstrip("0").rstrip("."),
        record.health,
        record.pid,
        visible(node),
    )
