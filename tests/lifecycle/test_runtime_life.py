"""Agents in processes whose start or end is cut short, or meets a store that refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentStatus, BaseAgent, Task
from shoal.errors import RuntimeStoppingError
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Slow(BaseAgent):
    async def on_start(self) -> None:
        await asyncio.sleep(60)

    async def execute_task(self, task: Task) -> None:
        return None


class Blocks(BaseAgent):
    def on_stop(self) -> None:  # type: ignore[override]
        time.sleep(20)

    async def execute_task(self, task: Task) -> None:
        return None


async def nothing(task: Task) -> str:
    return "done"


def test_no_process_is_left_when_a_stop_cuts_its_start_short(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", Slow, isolation="process")
            start = asyncio.create_task(runtime.start_agent("a"))
            post = runtime._here.post
            await until(lambda: post.cells)
            (cell,) = post.cells.values()
            pid = cell.handle.process_id
            assert pid is not None
            await runtime.stop(timeout_seconds=1)
            with pytest.raises(RuntimeStoppingError):
                await start
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(main)


def test_stop_at_once_ends_a_process_that_is_deaf_in_its_hook(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"a": Blocks}, options={"isolation": "process"}) as runtime:
            pid = runtime.get_agent_status("a").process_id
            assert pid is not None
            began = time.monotonic()
            await runtime.stop(graceful=False)
            assert time.monotonic() - began < 2
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(main)


def test_a_process_that_is_killed_while_the_store_refuses_is_restarted(store_url: str, run: Run) -> None:
    def refuse(point: str) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        options = {"isolation": "process"}
        async with running(store_url, {"a": nothing}, options=options, poll_seconds=0.1) as runtime:
            pid = runtime.get_agent_status("a").process_id
            assert pid is not None
            database: Any = next(part for part in vars(runtime.store).values() if hasattr(part, "faults"))
            database.faults = refuse
            os.kill(pid, signal.SIGKILL)
            cell = runtime._here.post.cells[runtime.get_agent_status("a").agent_id]
            await until(cell.handle.exited.done)
            await asyncio.sleep(0.3)
            database.faults = None
            await until(lambda: runtime.get_agent_status("a").restart_count == 1)
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.RUNNING)
            assert (await runtime.wait_for_task(await runtime.submit_task("x"), 10)).output_data == "done"

    run(main)
