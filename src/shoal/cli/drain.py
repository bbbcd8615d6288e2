"""``shoal drain``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from shoal.cli.nodes import find, is_alive
from shoal.cli.options import Store, seconds, url_of
from shoal.client import Client
from shoal.errors import BusError
from shoal.kernel.ports import Node

__all__ = ["drain"]

LOOK_SECONDS = 0.1
LATE_SECONDS = 15.0
"""What the end of a node may take beyond the time that its work has."""

Which = Annotated[
    str, typer.Argument(metavar="NODE", help="Its name, its id, or how its id begins; see `shoal nodes`.")
]
Grace = Annotated[str, typer.Option("--grace", metavar="TIME", help="What its work may take, such as 30s or 5m.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return when it is told, not when it has left.")]


def drain(node: Which, grace: Grace = "30s", no_wait: NoWait = False, store: Store = None) -> int:
    """Let a node end what it does and leave, so that nothing is lost or done twice; the others go on.

    It takes no more tasks at once, ends the tasks, requests and steps that it is at, hands over the rest, and leaves. A
    program that serves (`shoal up`, AgentRuntime.serve) ends then. The node may be on any machine. The order is written into
    the store, so it works without the bus, too. Ends with 1 when the node died meanwhile, or has not left in time.

    \b
    Example:
      shoal drain node-2 --grace 60s --store postgresql://shoal@db/shoal
    """
    return asyncio.run(_drain(url_of(store), node, seconds(grace), wait=not no_wait))


async def _drain(url: str, word: str, grace: float, *, wait: bool) -> int:
    async with _client(url) as client:
        found = find(client.list_nodes(), word)
        if not await client.drain_node(found.node_id, grace):
            print(f"{found.name} drains already", file=sys.stderr)
        if not wait:
            return 0
        clock = client.store.clock
        limit = clock.monotonic() + grace + LATE_SECONDS
        while (now := _record(client, found)) is not None:
            if now.lost or not is_alive(now, clock.now()):
                print(f"shoal: {found.name} died before it had left", file=sys.stderr)
                return 1
            if clock.monotonic() > limit:
                print(f"shoal: {found.name} has not left after {grace + LATE_SECONDS:g} s", file=sys.stderr)
                return 1
            await clock.sleep(LOOK_SECONDS)
    print(f"{found.name} has left")
    return 0


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[Client]:
    """Give a client, also when its bus cannot be reached: the order stands in the store, and the bell only hurries it."""
    client = Client(store=url)
    try:
        await client.open()
    except BusError as error:
        print(f"{error}; the node hears of it by its next look at the store", file=sys.stderr)
        client = Client(store=url, bus="local://")
        await client.open()
    try:
        yield client
    finally:
        await client.close()


def _record(client: Client, node: Node) -> Node | None:
    return next((each for each in client.list_nodes() if each.node_id == node.node_id), None)
