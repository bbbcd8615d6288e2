"""Budgets of runs in a store: what is asked, told and counted, across restarts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime, Budget
from shoal.client import Client
from shoal.kernel.run import RunOptions, RunStatus
from shoal.llm.doubles import scripted
from shoal.orchestration import ParallelAgents, Pipeline
from tests.lifecycle.runs.compositions import Logged
from tests.lifecycle.runs.killing import ROOT, calls
from tests.lifecycle.runs.lives import Lives, journals, lives, model_calls
from tests.lifecycle.runs.thinking import COST_PICO, agents_of, debate, nested, panel, speak, supervisor, team
from tests.support.backend import is_there, store_at

SHORT = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


@pytest.fixture(scope="module")
def start() -> Iterator[Lives]:
    with lives() as started:
        yield started


def three_deep(make: Callable[[str], Any]) -> Pipeline:
    a, b, c, d, e, f, g = map(make, "abcdefg")
    inner = Pipeline([d, e, f], name="inner")
    return Pipeline([a, Pipeline([b, c, inner], name="middle"), g], name="outer")


@pytest.mark.spec("O30")
@pytest.mark.parametrize("kind", ["agents", "foreign"])
def test_five_calls_are_five_calls_in_patterns_three_deep(tmp_path: Path, run: Callable[..., Any], kind: str) -> None:
    log = tmp_path / "calls.log"

    def make(name: str) -> Any:
        return Logged(name, log) if kind == "foreign" else agents_of(log, {name: [speak]})[0]

    def made() -> int:
        return len(log.read_text().splitlines())

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            handle = runtime.run(three_deep(make), "x", run_id="r", budget=Budget(max_calls=5))
            result = await handle
            assert (made(), result.usage.calls) == (5, 5)
            assert (result.stopped, result.success, handle.status) == ("budget", False, RunStatus.INTERRUPTED)
            assert result.steps[0].success and result.steps[0].output
            assert len(runtime.runs.steps("r")) == 5
            again = await runtime.run(three_deep(make), "x", run_id="r")
            assert (again.stopped, made()) == ("budget", 5)
            whole = await runtime.run(three_deep(make), "x", run_id="r", budget=Budget(max_calls=7))
            assert whole.success and made() == 7 and whole.usage.calls == 7

    run(main)


@pytest.mark.spec("O19")
def test_each_run_of_all_patterns_three_deep_costs_its_own_calls(tmp_path: Path, run: Callable[..., Any]) -> None:
    log = tmp_path / "calls.log"
    together = ParallelAgents([Pipeline([debate(log)], name="inner", step_timeout=None), team(log)], timeout=None)
    whole = Pipeline([panel(log), together, supervisor(log)], name="whole", step_timeout=None)
    expected = 3 + 10 + 5 + 7

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            for number in (1, 2):
                result = await runtime.run(whole, "x")
                assert result.success, result.error
                assert result.usage.cost_pico == expected * COST_PICO
                assert sum(step.usage.cost_pico for step in result.steps) == expected * COST_PICO
                assert len(log.read_text().splitlines()) == number * expected

    run(main)


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_spent_budget_asks_and_waits_over_a_death(tmp_path: Path, run: Callable[..., Any], decision: str) -> None:
    names = [store_at(tmp_path / "runs.db"), str(tmp_path / "calls.log"), "nested", "r"]
    budget = '{"max_calls": 4, "on_exhausted": "ask"}'
    command = [sys.executable, "-m", "tests.lifecycle.runs.run_node", *names, budget]

    async def until_it_asks() -> str:
        while not is_there(tmp_path / "runs.db"):
            await asyncio.sleep(0.02)
        async with Client(store_at(tmp_path / "runs.db")) as client:
            while not (asked := client.runs.approvals()):
                await asyncio.sleep(0.02)
            assert client.runs.get("r").status is RunStatus.WAITING
            (question,) = asked
            assert (question.kind, question.arguments) == ("budget", {"limit": "max_calls", "allowed": 4.0})
            return question.id

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            while runtime.runs.get("r").node_id is not None:
                await asyncio.sleep(0.05)
            made = model_calls(tmp_path)
            handle = runtime.run(nested(tmp_path / "calls.log"), "the task", run_id="r")
            allowed: list[float] = []
            while not handle.done:
                for asked in runtime.runs.approvals("r") if handle.status is RunStatus.WAITING else ():
                    if not allowed:
                        assert asked.id == question and model_calls(tmp_path) == made, "no call is repeated"
                    arguments: Any = asked.arguments
                    allowed.append(arguments["allowed"])
                    await getattr(runtime.runs, decision)(asked.id, "ada")
                await asyncio.sleep(0.01)
            result = await handle
            if decision == "approve":
                assert result.success and allowed == [4.0, 8.0, 16.0]
            else:
                assert result.stopped == "budget" and allowed == [4.0]

    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        question = asyncio.run(until_it_asks())
    finally:
        process.kill()
        process.communicate(timeout=30)
    run(main)


def test_a_run_that_does_not_wait_is_approved_later(tmp_path: Path, run: Callable[..., Any]) -> None:
    budget = Budget(max_calls=2, on_exhausted="ask")

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            pattern = Pipeline([Logged(name, tmp_path / "calls.log") for name in "abc"], name="p")
            handle = runtime.run(pattern, "x", run_id="r", budget=budget, options=RunOptions(on_wait="return"))
            result = await handle
            assert (result.stopped, handle.status) == ("waiting", RunStatus.WAITING)
            assert [step.success for step in result.steps[:2]] == [True, True]
            (asked,) = runtime.runs.approvals("r")
            await runtime.runs.approve(asked.id, "ada")
            done = await runtime.run(pattern, "x", run_id="r", budget=budget)  # the same budget, twice as much of it
            assert done.success and calls(tmp_path) == {"a": 1, "b": 1, "c": 1}
            assert not runtime.runs.approvals("r")

    run(main)


class Slow(Logged):
    """An agent that takes a moment."""

    async def chat(self, message: str) -> Any:
        await asyncio.sleep(0.1)
        return await super().chat(message)


def test_the_time_of_a_run_is_that_of_all_its_lives(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            pattern = Pipeline([Slow(name, tmp_path / "calls.log") for name in "abcdefghijkl"], name="p")
            result = await runtime.run(pattern, "x", run_id="r", budget=Budget(max_seconds=0.35))
            assert result.stopped == "budget" and 1 <= calls(tmp_path).total() <= 3
            done = calls(tmp_path)
            again = await runtime.run(pattern, "x", run_id="r")
            assert again.stopped == "budget" and calls(tmp_path) == done, "the time is over"
            asking = Budget(max_seconds=0.35, on_exhausted="ask")
            handle = runtime.run(pattern, "x", run_id="r", budget=asking)
            answered = 0
            while not handle.done:
                for asked in runtime.runs.approvals("r"):
                    arguments: Any = asked.arguments
                    assert arguments["limit"] == "max_seconds"
                    await asyncio.sleep(0.5)  # more than all the time that it has: waiting for people is not counted
                    await runtime.runs.approve(asked.id, "ada")
                    answered += 1
                await asyncio.sleep(0.01)
            assert (await handle).success and answered in (2, 3)
            assert set(calls(tmp_path).values()) <= {1, 2}  # one was cut off by the first budget

    run(main)


def test_the_time_of_a_life_that_was_killed_counts(start: Lives, tmp_path: Path) -> None:
    before = 0.0
    for _ in range(3):
        assert start.live(tmp_path, "nested", "r", kill=(2, "recorded"), budget='{"max_seconds": 60}') is None
        (record,) = journals(tmp_path)
        assert record.seconds > before
        before = record.seconds


def test_each_warning_is_told_once_in_all_lives(start: Lives, tmp_path: Path) -> None:
    budget = f'{{"max_cost": {COST_PICO * 21 / 1e12}}}'
    assert start.live(tmp_path, "nested", "r", kill=(14, "recorded"), budget=budget) is None
    for _ in range(5):
        assert start.live(tmp_path, "nested", "r", kill=(1, "recorded"), budget=budget) is None
    assert start.live(tmp_path, "nested", "r", budget=budget) is not None

    async def told() -> list[float]:
        async with Client(store_at(tmp_path / "runs.db"), read_only=True) as client:
            return [event.data["mark"] async for event in client.runs.events("r") if event.type == "budget_warning"]

    assert asyncio.run(told()) == [0.8, 0.95]


def test_a_warning_of_a_budget_is_told_though_the_parts_have_their_own(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            parts = [
                Pipeline([Logged(f"{part}{n}", tmp_path / "log") for n in "12"], name=part, budget=Budget(max_calls=9))
                for part in "ab"
            ]
            handle = runtime.run(Pipeline(parts, name="p"), "x", run_id="r", budget=Budget(max_calls=5))
            assert (await handle).success
            marks = [e.data["mark"] async for e in runtime.runs.events("r") if e.type == "budget_warning"]
            assert marks == [0.8]

    run(main)


def test_from_cheap_at_on_the_cheap_model_is_used(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            dear, cheap = scripted({"": "dear"}, cost=0.01), scripted({"": "cheap"}, cost=0.001)
            agents = [Agent(name=name, model=dear, cheap_model=cheap) for name in "abcd"]
            budget = Budget(max_calls=4, cheap_at=0.5)
            result = await runtime.run(Pipeline(agents, name="p"), "x", run_id="r", budget=budget)
            assert [step.output for step in result.steps] == ["dear", "dear", "cheap", "cheap"]
            assert result.total_cost == 0.022

    run(main)
