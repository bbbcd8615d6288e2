"""No wait outlives its runtime: a stop ends it, and so does a lost lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from shoal import AgentRuntime, Task
from shoal.client import Client
from shoal.errors import LeaseLostError, RuntimeNotStartedError, RuntimeStoppingError
from shoal.store import open_store
from tests.support.runtimes import running

Run = Callable[..., Any]


async def forever(task: Task) -> None:
    await asyncio.Event().wait()


async def through(items: AsyncIterator[Any], seen: list[Any]) -> None:
    async for item in items:
        seen.append(item)  # noqa: PERF401  what was seen before an error counts


async def begin_waits(runtime: AgentRuntime, seen: list[Any]) -> list[asyncio.Task[Any]]:
    """Begin a wait of each kind for tasks that do not end."""
    first, second = [await runtime.submit_task(str(n)) for n in range(2)]
    waits: list[Coroutine[Any, Any, Any]] = [
        runtime.wait_for_task(first),
        runtime.wait_for_task(first, timeout_seconds=60),
        *(runtime.wait_for_tasks([first, second], return_when=when) for when in ("all", "any", "failure")),
        through(runtime.as_completed([first, second]), []),
        through(runtime.follow_events(), seen),
        through(runtime.shared.watch("x"), []),
    ]
    begun = [asyncio.create_task(wait) for wait in waits]
    await asyncio.sleep(0.05)
    assert not any(wait.done() for wait in begun)
    return begun


@pytest.mark.parametrize("graceful", [True, False])
def test_a_stop_ends_every_wait(store_url: str, run: Run, graceful: bool) -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with running(store_url, {"a": forever}, cancel_grace_seconds=0.2) as runtime:
            waits = await begin_waits(runtime, seen)
            await runtime.stop(graceful, timeout_seconds=0.1)
            done, _ = await asyncio.wait(waits, timeout=2)
            assert done == set(waits)
            assert [type(wait.exception()) for wait in waits] == [RuntimeStoppingError] * len(waits)
            assert seen[-1].event_type == "runtime_stopped", "who follows hears the last event"
            late = runtime.wait_for_task("x")
            with pytest.raises(RuntimeNotStartedError):
                await late

    run(main)


def test_what_ends_while_a_runtime_stops_is_still_told(store_url: str, run: Run) -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def short(task: Task) -> str:
            began.set()
            await asyncio.sleep(0.2)
            return "done"

        async with running(store_url, {"a": short}) as runtime:
            waits = asyncio.create_task(runtime.wait_for_task(await runtime.submit_task("x")))
            await began.wait()  # the wait has begun by then, too
            await runtime.stop()
            assert (await waits).output_data == "done"

    run(main)


def test_a_lost_lease_ends_every_wait(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"a": forever}, lease_seconds=1) as runtime:
            waits = await begin_waits(runtime, [])
            other = open_store(store_url)
            await other.open()
            await other.leases.rescue([runtime.node_id], now=datetime.now(UTC), max_interruptions=25)
            await other.close()
            done, _ = await asyncio.wait(waits, timeout=10)
            assert done == set(waits)
            assert [type(wait.exception()) for wait in waits] == [LeaseLostError] * len(waits)

    run(main)


def test_a_client_that_closes_ends_its_waits(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            task_id = await runtime.submit_task("x")
            async with Client(store=store_url) as client:
                waits = [
                    asyncio.create_task(client.tasks.wait(task_id)),
                    asyncio.create_task(through(client.events.follow(), [])),
                ]
                await asyncio.sleep(0.05)
            await asyncio.wait(waits, timeout=2)
            assert [type(wait.exception()) for wait in waits] == [RuntimeNotStartedError] * 2

    run(main)
