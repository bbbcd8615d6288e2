"""A server that goes away between the two words of a sweep: the next sweep looks, though nothing was committed since."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.client import Client
from shoal.cluster import PostgresServer
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing.store_queue_frame import claim, new, node, settle
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.runtimes import until

POLL_SECONDS = 1.0
SWEEPS = 4.0
"""Far fewer than the ten after which a sweep looks at the store all the same."""


@asynccontextmanager
async def _waiting(kind: str, url: str) -> AsyncIterator[Client | AgentRuntime]:
    """Somebody who waits for tasks of others, and hears of nothing but by sweeps."""
    opened: Any = Client(store=url)
    if kind == "node":
        opened = AgentRuntime(store=url, config={"poll_seconds": POLL_SECONDS, "lease_seconds": 60})
    async with opened:
        yield opened


def _poller(waiter: Any) -> Any:
    return waiter if isinstance(waiter, Client) else waiter._here.maintenance


def _cut_after_the_look(store: Any, server: PostgresServer, loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """End the server as soon as the store has said that somebody committed."""
    changed, cut = store.changed, asyncio.Event()

    def look() -> bool:
        found = bool(changed())
        if found and not cut.is_set():
            asyncio.run_coroutine_threadsafe(server.process.kill(), loop).result(10)
            loop.call_soon_threadsafe(cut.set)
        return found

    store.changed = look
    return cut


@pytest.mark.parametrize("kind", ["client", "node"])
def test_a_wait_is_answered_by_the_sweep_after_the_one_that_failed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = PostgresServer(fresh_folder(), settings=UNSYNCED)
        try:
            await server.start()
            other: Store = open_store(server.url)
            await other.open()
            await other.leases.join(node("n1"), now=other.clock.now())
            async with _waiting(kind, server.url) as waiter:
                (task_id,) = await other.tasks.enqueue([new("x")], now=other.clock.now(), max_pending=None)
                waits = asyncio.ensure_future(waiter.wait_for_task(task_id))
                await until(lambda: not _poller(waiter)._behind)
                (given,) = await claim(other)
                _poller(waiter)._polls = 0
                cut = _cut_after_the_look(waiter.store, server, asyncio.get_running_loop())
                await settle(other, given)  # without a bell
                await cut.wait()
                await until(lambda: "poll failed" in caplog.text)
                await server.start()
                back = time.monotonic()
                async with asyncio.timeout(60):
                    assert (await waits).task_id == task_id
                assert time.monotonic() - back < SWEEPS * POLL_SECONDS
            await other.close()
        finally:
            await server.stop()
            shutil.rmtree(server.folder)

    asyncio.run(main())
