"""However a run is ended, and at whatever moment: in the end nobody holds it, and the same id goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.kernel.run import ENDED, RunStatus
from shoal.llm import echo
from shoal.orchestration import Pipeline

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
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            for moment in range(MOMENTS):
                await cancelled_at(runtime, moment)
            left = runtime.runs.list(limit=MOMENTS)
            assert left and all(record.node_id is None for record in left)
            assert not [record for record in left if record.status in (RunStatus.RUNNING, RunStatus.WAITING)]
            for record in left:
                assert (await runtime.run(_pipeline(), "x", run_id=record.run_id)).content == "x"
                assert runtime.runs.get(record.run_id).status in ENDED

    run(main)
