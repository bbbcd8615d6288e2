"""However a run is ended, and at whatever moment: in the end nobody holds it, and the same id goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.errors import RunConflictError, RunNotFoundError
from shoal.kernel.run import ENDED, RunStatus
from shoal.llm import echo
from shoal.orchestration import Pipeline
from tests.support.backend import store_at

MOMENTS = 60


def _pipeline(latency: float = 0.0) -> Any:
    return Pipeline([Agent(name="Ann", model=echo(latency=latency))])


@pytest.mark.parametrize("by", ["whoever waits", "two at once"])
def test_a_run_that_is_cancelled_at_any_moment_is_held_by_nobody(
    by: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def cancelled_at(runtime: AgentRuntime, moment: int) -> None:
        handle = runtime.run(_pipeline(), "x", run_id=f"r{moment}")

        async def wait() -> None:
            await handle

        first = wait() if by == "whoever waits" else handle.cancel("first")
        work = asyncio.ensure_future(first)
        for _ in range(moment):
            await asyncio.sleep(0)
        if by == "whoever waits":
            work.cancel()
        else:
            await handle.cancel("second")
        await asyncio.wait([work])

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            for moment in range(MOMENTS):
                await cancelled_at(runtime, moment)
            left = runtime.runs.list(limit=MOMENTS)
            assert left and all(record.node_id is None for record in left)
            assert not [record for record in left if record.status in (RunStatus.RUNNING, RunStatus.WAITING)]
            for record in left:
                assert (await runtime.run(_pipeline(), "x", run_id=record.run_id)).content == "x"
                assert runtime.runs.get(record.run_id).status in ENDED

    run(main)


def test_news_of_a_run_that_was_started_this_moment_come_when_it_has_begun(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            handle = runtime.run(_pipeline(), "x", run_id="r")
            told = [event async for event in runtime.runs.events("r")]  # it is not in the store yet
            assert (await handle).content == "x"
            assert [event.type for event in told][:: len(told) - 1] == ["run_started", "run_finished"]
            again = runtime.run(_pipeline(), "x", run_id="r")
            assert [event async for event in runtime.runs.events("r")] == told, "a finished one, taken up again"
            await again
            await asyncio.sleep(0)  # the node lets go of it
            other = runtime.run(_pipeline(), "y", run_id="r")  # refused: the run is another one
            assert [event async for event in runtime.runs.events("r")] == told
            with pytest.raises(RunConflictError):
                await other
            with pytest.raises(RunNotFoundError):
                await anext(runtime.runs.events("nope"))

    run(main)
