"""A run that waits for people says so as long as it waits; and which ids a run may have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.kernel.run import RunStatus
from shoal.llm import echo, scripted
from shoal.llm.model import ToolCall
from shoal.llm.tools import Tool
from tests.support.backend import store_at
from tests.support.runtimes import until


async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def test_a_run_waits_until_its_last_question_is_decided(tmp_path: Path, run: Callable[..., Any]) -> None:
    calls = tuple(ToolCall(call_id=str(n), name="pay", arguments=f'{{"amount": {n}}}') for n in (1, 2))
    agent = Agent(name="Ann", model=scripted([calls, "done"]), tools=[Tool(pay, approval=True)])

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            handle = runtime.run(agent, "x", run_id="r")
            await until(lambda: len(runtime.runs.approvals("r")) == 2)
            first, second = runtime.runs.approvals("r")
            await runtime.runs.approve(first.id, by="Bob")
            async for event in handle.events():
                if event.type == "step_finished" and event.data["kind"] == "tool":
                    break
            assert (handle.status, runtime.runs.get("r").status) == (RunStatus.WAITING, RunStatus.WAITING)
            await runtime.runs.approve(second.id, by="Bob")
            assert (await handle).content == "done"
            told = [event async for event in runtime.runs.events("r")]
            assert [event.offset for event in told] == list(range(1, len(told) + 1))
            assert [event.type for event in told].count("approval_given") == 2

    run(main)


@pytest.mark.parametrize("run_id", ["", "a/b", "task:1", "half \ud800", "x" * 201, 7])
def test_an_id_that_a_run_cannot_have_is_refused_at_once(run_id: Any, tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            with pytest.raises(ValueError, match="run_id"):
                runtime.run(Agent(name="Ann", model=echo()), "x", run_id=run_id)
            assert runtime.runs.list() == []

    run(main)
