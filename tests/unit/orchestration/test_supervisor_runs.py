"""Supervisors as runs: deaths, costs, budgets, cancelling, chaos, and equal runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.kernel.budget import Budget
from shoal.llm.agent import Agent
from shoal.llm.doubles import chaos, scripted
from shoal.orchestration import Pipeline, Supervisor, SupervisorConfig, SupervisorResult
from shoal.testing.clock import VirtualClock
from tests.support.replay import Lives, check_every_death, check_many_deaths, without_times
from tests.support.speakers import Calls, Speaker, virtual
from tests.unit.orchestration.test_supervisor import Cast, once, plan


def _replanning(calls: Calls, **options: Any) -> Supervisor:
    """Return a supervisor whose first plan must be repaired, and which plans three times."""

    def planner(prompt: str) -> str:
        rounds = prompt.count("### A")
        if rounds == 0:
            return plan("B", ("A", "first"), ("A", "second")) if "cannot be used" in prompt else "hm"
        return plan(("A", f"after {rounds}"), "C") if rounds == 2 else "[]"

    def agent(name: str, answer: Any = None, seconds: float = 1.0) -> Speaker:
        return Speaker(name, answer, calls, seconds=seconds, cost=0.25)

    workers = {"A": agent("A"), "B": agent("B", seconds=9.0), "C": agent("C", ValueError("no"))}
    config = SupervisorConfig(worker_timeout=4.0, **options)
    return Supervisor(workers, agent("Planner", planner), agent("Synthesizer", "done"), config)


@pytest.mark.parametrize("shuffle", [False, True])
def test_it_dies_anywhere_and_goes_on(shuffle: bool) -> None:
    deaths = check_every_death(_replanning, "task", context="context", shuffle=shuffle)
    assert deaths > 30


@pytest.mark.parametrize("mode", ["all", "sequential"])
def test_other_modes_die_anywhere_and_go_on(mode: str) -> None:
    assert check_every_death(lambda calls: _replanning(calls, mode=mode), "task") > 10


def test_it_dies_again_and_again() -> None:
    check_many_deaths(_replanning, "task", [3, 5, 4, 7, 6, 9, 8, 5])


def test_it_dies_anywhere_under_a_budget_within_a_pipeline() -> None:
    def make(calls: Calls) -> Pipeline:
        return Pipeline([Speaker("First", None, calls, cost=0.25), _replanning(calls)])

    assert check_every_death(make, "task", budget=Budget(max_calls=50, max_cost=9.0)) > 30


def test_its_first_run_is_the_expected_one() -> None:
    result = Lives(_replanning, "task").live().result
    assert isinstance(result, SupervisorResult)
    assert (result.content, result.success, result.iterations) == ("done", True, 2)
    assert [(r.worker_name, r.error) for r in result.worker_results] == [
        ("B", "Timeout"), ("A", None), ("A", None), ("A", None), ("C", "no"),
    ]  # fmt: skip


@pytest.mark.spec("O19")
def test_each_run_costs_its_own_calls_planner_and_synthesizer_included() -> None:
    cast = Cast(once(plan("A", "B"), plan("A")), max_iterations=2)

    async def main(clock: VirtualClock) -> list[SupervisorResult]:
        return [await cast.pattern.run("one"), await cast.pattern.run("two")]

    results = virtual(main)
    assert len(cast.calls) == 12
    for result in results:
        assert result.total_cost == 6.0
        assert (result.usage.calls, result.usage.cost_pico) == (6, 6 * 10**12)
        assert sum(r.usage.cost_pico for r in result.worker_results) == 3 * 10**12


def test_repairs_cost_too() -> None:
    assert Cast("hm").run().total_cost == 5.0


@pytest.mark.parametrize("most", range(8))
def test_a_spent_budget_keeps_the_finished_work(most: int) -> None:
    cast = Cast(once(plan("A", "B", "A"), plan("B")), max_iterations=2)
    result = cast.run(budget=Budget(max_calls=most))
    assert len(cast.calls) == result.usage.calls == min(most, 7)
    if most == 7:
        assert (result.success, result.stopped) == (True, None)
        return
    assert (result.success, result.stopped) == (False, "budget")
    done = [r for r in result.worker_results if r.success]
    assert len(done) == (0, 0, 1, 2, 3, 3, 4)[most]
    assert result.content.count("**:") == len(done)


def test_a_worker_at_work_may_finish_when_another_has_no_budget_for_its_second_task() -> None:
    cast = Cast(plan("A", "A", "B"), seconds={"A": 1.0, "B": 5.0}, max_iterations=1)
    result = cast.run(budget=Budget(max_seconds=3600, max_calls=3))
    assert [(r.worker_name, r.success) for r in result.worker_results] == [("A", True), ("A", False), ("B", True)]
    assert (result.stopped, cast.calls.cancelled) == ("budget", [])
    limited = Cast(plan("A", "A", "A", "B"), seconds={"A": 1.0, "B": 5.0}, max_iterations=1)
    result = limited.run(budget=Budget(max_calls=3))
    assert [(r.worker_name, r.success) for r in result.worker_results] == [("A", True), ("A", False), ("B", True)]


def test_cancelled_it_keeps_what_was_finished() -> None:
    cast = Cast(plan("A", "B"), seconds={"B": 9.0})

    async def main(clock: VirtualClock) -> SupervisorResult:
        handle = cast.pattern.start("the task")
        await clock.sleep(2)
        before = handle.partial()
        assert before is not None and [r.worker_name for r in before.worker_results] == ["A"]
        await handle.cancel("enough")
        return await handle

    result = virtual(main)
    assert (result.stopped, result.success, result.content) == ("cancelled", False, "**A**:\nA(Task: do A)")
    assert cast.calls.cancelled == ["i1/w1:B"]
    assert [task.worker_name for task in result.plan] == ["A", "B"]


def test_a_nested_pattern_shows_what_it_has_finished() -> None:
    calls = Calls()
    inner = Pipeline([Speaker("One", "half", calls), Speaker("Two", "never", calls, seconds=99)], name="Inner")
    outer = Supervisor({"Inner": inner}, Speaker("Planner", "never"), Speaker("S"), SupervisorConfig(mode="all"))

    async def main(clock: VirtualClock) -> SupervisorResult | None:
        handle = outer.start("the task")
        await clock.sleep(2)
        return handle.partial()

    result = virtual(main)
    assert result is not None
    assert [(r.worker_name, r.output, r.success) for r in result.worker_results] == [("Inner", "half", False)]
    assert result.content == "**Inner**:\nhalf"


# -- models


def _of_models(seed: int, shares: Mapping[str, float]) -> Supervisor:
    answers = [plan("Finder", "Writer"), plan(("Finder", "more")), "[]", "[]"]

    def agent(name: str, replies: list[str]) -> Agent[Any]:
        return Agent(name=name, model=chaos(scripted(replies, cost=0.001), seed, **shares), timeout=5, retries=1)

    workers = {name: agent(name, [f"{name} {n}" for n in range(9)]) for name in ("Finder", "Writer")}
    config = SupervisorConfig(planning_timeout=15, worker_timeout=12)
    return Supervisor(workers, agent("Planner", answers), agent("Synthesizer", ["done"] * 2), config)


SHARES = {"errors": 0.15, "timeouts": 0.1, "rate_limits": 0.1, "malformed": 0.1, "slow": 0.15}


@pytest.mark.spec("O46")
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_chaos_neither_hangs_nor_raises_and_every_cost_is_counted_once(first: int) -> None:
    for seed in range(first, first + 25):

        async def main(clock: VirtualClock, seed: int = seed) -> tuple[SupervisorResult, list[Any]]:
            handle = _of_models(seed, SHARES).start("the task")
            return await handle, [event async for event in handle.events()]

        result, events = virtual(main, seed=seed)
        told = sum(round(event.data.get("cost", 0.0) * 10**12) for event in events if event.type == "step_finished")
        assert result.usage.cost_pico == told, seed
        assert result.success or result.error, seed
        assert result.total_duration_ms < 300_000, seed


def test_two_runs_of_one_seed_are_equal_byte_for_byte() -> None:
    def whole(seed: int) -> tuple[Any, list[Any]]:
        async def main(clock: VirtualClock) -> tuple[Any, list[Any]]:
            handle = _of_models(seed, SHARES).start("the task", context="context")
            result = await handle
            news = [(event.offset, event.path, event.type, event.data) async for event in handle.events()]
            return without_times(result) | {"run_id": ""}, news

        return virtual(main, seed=seed)

    for seed in range(5):
        assert whole(seed) == whole(seed)


def test_without_planner_and_synthesizer_the_first_worker_is_forked() -> None:
    def model(name: str) -> Any:
        return scripted({"Planner": [plan("B", "C"), "[]"], "Synthesizer": ["done"], "B": ["b"]}, cost=0.001)

    able: Agent[Any] = Agent(
        name="B", role="writes", model=model("B"), temperature=1.0, tools=[len_of], output_type=None
    )
    pattern = Supervisor({"A": Speaker("A"), "B": able, "C": Speaker("C", "c")})
    planner, synthesizer = pattern.planner, pattern.synthesizer
    assert [(a.name, a.temperature, a.tools) for a in (planner, synthesizer)] == [
        ("Planner", 0.3, ()), ("Synthesizer", 0.5, ()),
    ]  # fmt: skip
    assert planner.role.startswith("You plan") and synthesizer.role.startswith("You bring together")
    result = virtual(lambda clock: pattern.run("the task"))
    assert (result.content, result.success, result.iterations) == ("done", True, 1)


def len_of(text: str) -> int:
    """Return the length of *text*."""
    return len(text)


def test_a_fork_of_one_that_answers_in_a_form_answers_in_text() -> None:
    able: Agent[Any] = Agent(name="B", model=scripted(["x"]), output_type=dict[str, int])
    assert Supervisor({"B": able}).planner.output_type is None


def test_without_any_that_forks_the_first_plans_and_the_outputs_are_the_content() -> None:
    calls = Calls()
    first = Speaker("A", lambda prompt: plan("B") if prompt.startswith("Plan") else "never", calls)
    pattern = Supervisor({"A": first, "B": Speaker("B", "b", calls)}, config=SupervisorConfig(max_iterations=1))
    result = virtual(lambda clock: pattern.run("the task"))
    assert calls.places() == ["i1/plan", "i1/w0:B"]
    assert (result.content, result.success) == ("**B**:\nb", True)


def test_one_object_serves_many_runs_at_once() -> None:
    cast = Cast(once(plan("A", "B")), seconds={"A": 1.0})
    cast.agents["Synthesizer"]._answer = lambda prompt: prompt.split("Task: ")[1].split("\n")[0]

    async def main(clock: VirtualClock) -> list[SupervisorResult]:
        return await asyncio.gather(*(cast.pattern.run(f"task {number}") for number in range(50)))

    assert [result.content for result in virtual(main)] == [f"task {number}" for number in range(50)]


@pytest.mark.parametrize("mode", ["selective", "all"])
@pytest.mark.parametrize("most", range(6))
def test_a_run_that_goes_on_tells_each_plan_once(run: Callable[..., Any], tmp_path: Path, most: int, mode: str) -> None:
    cast = Cast(once(plan("A", "B"), "[]"), max_iterations=2, mode=mode)
    calls, plans = (5, [1, 2]) if mode == "selective" else (3, [1])

    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            first = await runtime.run(cast.pattern, "the task", run_id="r", budget=Budget(max_calls=most))
            assert first.stopped == ("budget" if most < calls else None)
            result = await runtime.run(cast.pattern, "the task", run_id="r", budget=Budget(max_calls=9))
            told = [event.data["iteration"] async for event in runtime.runs.events("r") if event.type == "plan"]
        assert (result.success, result.content, result.total_cost) == (True, "the answer", float(calls))
        assert (told, len(cast.calls)) == (plans, calls)

    run(main)
