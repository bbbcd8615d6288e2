"""The wall clock jumps, or nobody can renew: who lives is not taken for dead, and a retry waits as long as it should."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import Task
from shoal.kernel.clock import RealClock
from tests.support.facts import all_events, check_story
from tests.support.runtimes import running, until

Run = Callable[..., Any]
LEASE = 1.0


class SetClock(RealClock):
    """A wall clock that can be set, as a time server or a suspended machine does."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def micros(self) -> int:
        return super().micros() + self.ahead // timedelta(microseconds=1)


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.2])
def test_a_jump_of_the_wall_clock_kills_no_node(store_url: str, run: Run, hours: int, phase: float) -> None:
    async def main() -> None:
        async def work(task: Task) -> str:
            return task.name

        clock = SetClock()
        async with (
            running(store_url, {"a": work}, clock=clock, lease_seconds=LEASE) as one,
            running(store_url, {"b": work}, clock=clock, lease_seconds=LEASE) as two,
        ):
            await asyncio.sleep(LEASE + phase)  # by now each believes a lease that has ended
            clock.ahead = timedelta(hours=hours)
            async with running(store_url, clock=clock, lease_seconds=LEASE):  # it sees no jump, only ended leases
                await asyncio.sleep(2 * LEASE)  # longer than any of them waits before it judges
            assert one.query_events("node_lost") == one.query_events("lease_lost") == []
            ids = [await one.submit_task("x", agent="a"), await two.submit_task("y", agent="b")]
            done = await one.wait_for_tasks(ids, timeout_seconds=10)
            assert [task.output_data for task in done] == ["x", "y"]

    run(main)


@pytest.mark.sqlite
def test_nobody_is_dead_because_the_store_was_held_up(tmp_path: Path, store_url: str, run: Run) -> None:
    async def main() -> None:
        async def work(task: Task) -> str:
            return task.name

        async with (
            running(store_url, {"a": work}, lease_seconds=LEASE) as one,
            running(store_url, {"b": work}, lease_seconds=LEASE) as two,
        ):
            for _ in range(2):
                with (tmp_path / "shoal.db-lock").open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)  # as a process that is stopped in the midst of a commit
                    await asyncio.sleep(2 * LEASE)  # nobody can renew: all leases end
                await asyncio.sleep(LEASE)
            assert one.query_events("node_lost") == one.query_events("lease_lost") == []
            ids = [await one.submit_task("x", agent="a"), await two.submit_task("y", agent="b")]
            assert [task.output_data for task in await one.wait_for_tasks(ids, timeout_seconds=10)] == ["x", "y"]

    run(main)


def test_a_retry_waits_no_longer_when_the_wall_clock_is_set_back(store_url: str, run: Run) -> None:
    async def main() -> None:
        async def fails_once(task: Task) -> int:
            if task.attempt == 1:
                raise ValueError("the first time")
            return task.attempt

        clock = SetClock()
        async with running(store_url, {"a": fails_once}, clock=clock) as runtime:
            task_id = await runtime.submit_task("x", max_retries=1)
            began = time.monotonic()
            await until(lambda: runtime.get_task_status(task_id).retry_count == 1)
            clock.ahead = timedelta(hours=-1)
            task = await runtime.wait_for_task(task_id, timeout_seconds=10)
            assert task.output_data == 2
            assert time.monotonic() - began >= 0.45, "the wait was measured, not skipped"
            check_story([task], all_events(runtime))

    run(main)
