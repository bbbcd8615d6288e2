"""A changed program with ``on_change="rerun"``: each agent is asked anew once, whoever works beside it, and paid once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.errors import RunChangedError
from shoal.kernel.budget import Budget
from shoal.kernel.run import RunOptions
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.llm import echo, scripted
from shoal.orchestration import Orchestrator, ParallelAgents, Pipeline, as_agent
from shoal.orchestration.workflow.brief import WorkStep
from shoal.orchestration.workflow.plan import Plan
from tests.support.backend import store_at

RERUN = RunOptions(on_change="rerun")


def _panel(role: str, latencies: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Any:
    models = [echo(latency=latency) for latency in latencies]
    return ParallelAgents([Agent(name=name, role=role, model=model) for name, model in zip("abc", models, strict=True)])


def test_agents_at_once_that_all_have_changed_are_asked_anew(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.run(_panel("old"), "x", run_id="first")
            forked = await runtime.runs.fork("first", runtime.runs.steps("first")[-1].key)
            result = await runtime.run(_panel("new"), "x", run_id=forked, options=RERUN)
            assert [said.error for said in result.results] == [None, None, None]
            assert {step.key for step in runtime.runs.steps(forked)} == {f"{n}:{'abc'[n]}/model1" for n in range(3)}

    run(main)


class Steps:
    """What does one step after the other, each with the input *version*, and asks nobody."""

    name = "steps"

    def __init__(self, order: str, version: str) -> None:
        self._order = order
        self._version = version

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> str:
        """Do them."""

        async def do(ticket: Ticket) -> str:
            return self._version

        done = [await scope.step(StepOrder(segment=each, kind="x", digest=self._version), do) for each in self._order]
        return "".join(str(step.output) for step in done)

    def decode_result(self, data: Any) -> str:
        """Return it."""
        return str(data)


def test_what_was_done_in_this_life_stays_when_a_change_is_found_later(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.run(Steps("abc", "1"), "x", run_id="first")
            forked = await runtime.runs.fork("first", "c")
            assert await runtime.run(Steps("bac", "2"), "x", run_id=forked, options=RERUN) == "222"
            assert [(step.key, step.output) for step in runtime.runs.steps(forked)] == [(key, "2") for key in "bac"]

    run(main)


@pytest.mark.parametrize("place", ["agent", "transformer"])
def test_agents_within_a_function_are_counted_once(place: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    def pipeline(change: str) -> Any:
        inner = Agent(name="Inner", model=scripted({"": "yes"}, cost=1.0))

        async def first(message: str) -> str:
            return message

        async def within(message: str) -> str:
            return (await inner.chat(message)).content

        agents = [as_agent(first, name="a"), as_agent(within, name="b"), as_agent(first, name="c")]
        functions: dict[int, Any] = {int(place == "agent"): lambda text: text + change} if change else {}
        if place == "transformer":
            agents[1] = as_agent(first, name="b")
            functions[1] = within
        return Pipeline(agents, functions)

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            assert (await runtime.run(pipeline(""), "x", run_id="first")).total_cost == 1.0
            forked = await runtime.runs.fork("first", "2:c/chat")
            result = await runtime.run(pipeline("new"), "x", run_id=forked, options=RERUN)
            assert result.success and result.total_cost == 1.0

    run(main)


def test_work_of_an_agent_who_has_left_the_team_is_given_to_another(tmp_path: Path, run: Callable[..., Any]) -> None:
    steps = (WorkStep(id="1", title="Write", owner="Writer"), WorkStep(id="2", title="Read", owner="Writer"))

    def team(*names: str) -> Any:
        writers = [Agent(name=name, model=scripted({"": "done"})) for name in names]
        return Orchestrator(Agent(name="Lead", model=scripted({"": "done"})), {"Writer": writers}, plan=Plan(steps))

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            first = await runtime.run(team("Ann", "Bob"), "x", run_id="r", budget=Budget(max_calls=1))
            assert first.stopped == "budget"
            larger = Budget(max_calls=9)
            with pytest.raises(RunChangedError, match=r"s\d/w1:to"):
                await runtime.run(team("Bob"), "x", run_id="r", budget=larger)
            result = await runtime.run(team("Bob"), "x", run_id="r", budget=larger, options=RERUN)
            assert [record.instance for record in result.steps] == ["Bob", "Bob"] and result.success

    run(main)
