"""Agents of the same process that a run asks, or gives tasks: what they do is part of their own runs, counted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime, Task
from shoal.kernel.budget import Budget
from shoal.kernel.run import RunOptions
from shoal.llm import scripted
from shoal.llm.model import ToolCall
from shoal.orchestration import Pipeline
from tests.support.backend import store_at


class Callee:
    """It asks a model in its tasks."""

    async def execute_task(self, task: Task) -> Any:
        """Ask it."""
        return (await Agent(name="Inner", model=scripted({"": "yes"}, cost=1.0)).chat("x")).content


@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_what_a_callee_uses_is_counted_once_and_in_its_own_run(
    isolation: Any, tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.start_agent(await runtime.register_agent("callee", Callee, isolation=isolation))
            line = Pipeline([runtime.agent("callee"), Agent(name="Ann", model=scripted({"": "a"}, cost=1.0))])
            first = await runtime.run(line, "x", run_id="r", budget=Budget(max_calls=1))
            assert (first.stopped, first.total_cost) == ("budget", 1.0)
            result = await runtime.run(line, "x", run_id="r", budget=Budget(max_calls=2))
            account = await runtime.store.runs.account("r")
            assert (result.total_cost, result.usage.calls, account.spent.calls) == (2.0, 2, 2)
            assert [step.key for step in runtime.runs.steps("r")] == ["0:callee/remote", "1:Ann/model1"]

    run(main)


def test_a_task_that_a_tool_submits_goes_on_after_the_run(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.start_agent(await runtime.register_agent("callee", Callee))
            submitted: list[str] = []

            async def order() -> str:
                """Order it."""
                submitted.append(await runtime.submit_task("later", agent="callee"))
                return "ordered"

            model = scripted([ToolCall(call_id="1", name="order"), "done"], cost=1.0)
            agent = Agent(name="Ann", model=model, tools=[order])
            result = await runtime.run(agent, "x", run_id="r", options=RunOptions(tokens=False))
            task = await runtime.wait_for_task(submitted[0])
            assert (task.result(), result.cost) == ("yes", 2.0)
            assert {step.key.split("/")[0] for step in runtime.runs.steps(f"task:{task.task_id}")} == {"Inner"}

    run(main)
