"""A node that stops while its server is away, or hangs: it waits for that once, not for each word to the store."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import threading
import time

import pytest

from shoal import AgentRuntime, Task, TaskStatus
from shoal.cluster import PostgresServer
from shoal.errors import StoreError
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.runtimes import UNLIMITED, until

AGENTS = 20
STOP_SECONDS = 1.0
GRACE_SECONDS = 0.3
PATIENCE_SECONDS = 10.0
"""Of one write that is in no hurry."""


async def naps(task: Task) -> str:
    await asyncio.sleep(600)
    return "done"


async def _started(url: str) -> AgentRuntime:
    config = {"poll_seconds": 0.1, "cancel_grace_seconds": GRACE_SECONDS}
    runtime = AgentRuntime(store=url, resource_limits=UNLIMITED, config=config)
    await runtime.start()
    for number in range(AGENTS):
        await runtime.register_agent(f"a{number}", naps)
        await runtime.start_agent(f"a{number}")
    ids = [await runtime.submit_task(f"t{number}") for number in range(AGENTS)]
    await until(lambda: all(runtime.get_task_status(each).status is TaskStatus.RUNNING for each in ids))
    return runtime


async def _stopped(runtime: AgentRuntime, verb: str = "stop") -> float:
    """Stop or drain, which the store does not hear of; return how long it took."""
    began = time.monotonic()
    with pytest.raises(StoreError):
        await getattr(runtime, verb)(timeout_seconds=STOP_SECONDS)
    return time.monotonic() - began


async def _check_threads(before: set[threading.Thread]) -> None:
    await until(lambda: not {each for each in threading.enumerate() if "shoal-store" in each.name} - before)


@pytest.mark.parametrize("verb", ["stop", "drain"])
def test_a_node_stops_although_its_server_is_away(verb: str) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        server = PostgresServer(fresh_folder(), settings=UNSYNCED)
        try:
            await server.start()
            runtime = await _started(server.url)
            await server.process.kill()
            assert await _stopped(runtime, verb) < STOP_SECONDS + GRACE_SECONDS + 3
            await _check_threads(before)
        finally:
            await server.stop()
            shutil.rmtree(server.folder)

    asyncio.run(main())


def test_a_node_stops_although_its_server_hangs(postgres_url: str, lost_errors: list[logging.LogRecord]) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        apart = asyncio.new_event_loop()  # the loop of a runtime may be blocked while it reads
        thread = threading.Thread(target=apart.run_forever)
        thread.start()
        proxy = Proxy(postgres_url)
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), apart).result(10)
        try:
            runtime = await _started(proxy.url)
            apart.call_soon_threadsafe(proxy.flowing.clear)
            assert await _stopped(runtime) < STOP_SECONDS + GRACE_SECONDS + PATIENCE_SECONDS
            await _check_threads(before)
        finally:
            apart.call_soon_threadsafe(proxy.flowing.set)
            await until(lambda: all(each.done() for each in proxy._carried))
            asyncio.run_coroutine_threadsafe(proxy.__aexit__(), apart).result(10)
            apart.call_soon_threadsafe(apart.stop)
            thread.join()
            apart.close()

    asyncio.run(main())
    gc.collect()  # the driver forgets a future when its request to give a statement up is cut short itself
    lost_errors[:] = [each for each in lost_errors if "unexpected connection_lost() call" not in str(each.exc_info)]
