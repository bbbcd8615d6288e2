"""Debates as runs: deaths, costs, budgets, cancelling, chaos, and equal runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime
from shoal.kernel.budget import Budget
from shoal.kernel.scope import current_scope
from shoal.kernel.starting import present_clock
from shoal.orchestration import Consensus, Debate, DebateResult, ParallelAgents, Pipeline
from shoal.testing.clock import VirtualClock
from tests.support.debaters import Panel, ballot, round_now
from tests.support.replay import Lives, check_every_death, check_many_deaths
from tests.support.speakers import Calls, Speaker, virtual

_VERDICT = '{"consensus": true, "position": "wait", "dissenters": ["C"]}'


def _troubled(calls: Calls, **options: Any) -> Debate:
    """Return a debate of three with two rounds of replies, a time-out, a failure, and a conclusion."""
    said = {
        "A": [ballot("Yes.", "a"), ballot("Still.", "a", "none", 90)],
        "B": [ballot("No.", "b"), ValueError("no"), ballot("Well.", "a", "A")],
        "C": [ballot("Hm.", "c"), ballot("Hm.", "c", "A"), ballot("Fine.", "a", "A")],
    }
    given: dict[str, Any] = {"seconds": {"A": 1.0, "B": 1.5, "C": 0.5}, "cost": 0.25, "round_timeout": 4.0, **options}
    return Panel(said, calls=calls, moderator=lambda prompt: _VERDICT if "JSON" in prompt else "done", **given).pattern


def _judged(calls: Calls) -> Debate:
    return _troubled(calls, consensus="judge", blind=True, require_consensus=True)


def _slow(calls: Calls) -> Debate:
    """Return one in which one after the other speaks, and one is always late."""
    return _troubled(calls, parallel_responses=False, seconds={"B": 9.0}, stop_when_stuck=True)


def _decided(calls: Calls) -> Debate:
    """Return one whose consensus is found by a function that asks others."""
    others = ParallelAgents([Speaker(name, None, calls, seconds=1, cost=0.25) for name in "xy"], name="Others")

    async def decide(topic: str, messages: Any) -> Consensus | None:
        said = await others.chat(f"{len(messages)} messages")
        return Consensus(position=said.content, supporters=("A",)) if messages[-1].round == 2 else None

    return _troubled(calls, consensus=decide, require_consensus=True, rounds=3)


@pytest.mark.parametrize("make", [_troubled, _judged, _slow, _decided])
@pytest.mark.parametrize("shuffle", [False, True])
def test_it_dies_anywhere_and_goes_on(make: Any, shuffle: bool) -> None:
    assert check_every_death(make, "topic", context="context", shuffle=shuffle) > 20


def test_it_dies_anywhere_under_a_budget_within_a_pipeline_between_patterns() -> None:
    def make(calls: Calls) -> Pipeline:
        fan = ParallelAgents([Speaker(name, None, calls, cost=0.25) for name in "pq"])
        return Pipeline([fan, _troubled(calls), Speaker("Last", None, calls, cost=0.25)])

    assert check_every_death(make, "topic", budget=Budget(max_calls=50, max_cost=20.0)) > 30
    check_many_deaths(make, "topic", [3, 5, 4, 7, 6, 9, 8, 5])


def test_its_first_run_is_the_expected_one() -> None:
    result = Lives(_troubled, "topic").live().result
    assert isinstance(result, DebateResult)
    assert (result.content, result.success, len(result.messages)) == ("done", True, 9)
    assert result.consensus is not None and result.consensus.supporters == ("A", "B", "C")
    judged = Lives(_judged, "topic").live().result
    assert (judged.rounds_completed, [each.agent_name for each in judged.dissent]) == (1, ["C"])
    slow = Lives(_slow, "topic").live().result
    assert [said.success for said in slow.messages if said.agent_name == "B"] == [False] * 3
    decided = Lives(_decided, "topic").live().result
    assert decided.rounds_completed == 2 and decided.consensus.position.startswith("1. [x]: x(9 messages)")


def test_the_blind_order_is_the_same_after_a_restart() -> None:
    lives = Lives(lambda calls: _troubled(calls, blind=True), "topic")
    assert lives.live(die_at=14).result is None
    assert lives.live().result.success
    told = [message.partition("The others know you as ")[2][:14] for message in lives.calls.messages("r1/0:A")]
    assert len(told) >= 1 and len({*told, *_own_names(lives, "r2/0:A")}) == 1
    assert _own_names(lives, "r2/0:A") != _own_names(lives, "r2/1:B")


def _own_names(lives: Lives, place: str) -> set[str]:
    return {message.partition("The others know you as ")[2][:14] for message in lives.calls.messages(place)}


@pytest.mark.parametrize("most", range(0, 10, 3))
@pytest.mark.parametrize("parallel", [True, False])
def test_a_run_that_goes_on_tells_each_message_once(run: Any, tmp_path: Path, most: int, parallel: bool) -> None:
    panel = Panel(parallel_responses=parallel)

    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            for limit in (most, most + 1, 99):
                result = await runtime.run(panel.pattern, "the topic", run_id="r", budget=Budget(max_calls=limit))
            news = [event async for event in runtime.runs.events("r") if event.type == "message"]
        told = [(event.data["round"], event.agent_name) for event in news if event.data["success"]]
        assert sorted(told) == [(number, name) for number in range(3) for name in "ABC"]
        assert (result.success, result.total_cost, len(panel.calls)) == (True, 10.0, 10)

    run(main)


def test_a_message_that_was_recorded_and_not_told_is_told_in_the_next_life() -> None:
    for point in range(1, 99):
        lives = Lives(_troubled, "topic")
        if lives.live(die_at=point).points[-1] == "r1/0:A/chat recorded":
            break
    told = [(event.data["round"], event.agent_name) for event in lives.live().events if event.type == "message"]
    assert (1, "A") in told and not any(number == 0 for number, _ in told)


def test_waiting_for_people_takes_no_time_of_the_round() -> None:
    class Asking(Speaker):
        async def chat(self, message: str) -> str:
            async def decide(approval: Any) -> bool:
                await present_clock().sleep(60)
                return True

            scope = current_scope.get()
            assert scope is not None
            asked = await scope.run.asking.approval(scope.key("tool1:pay"), "tool", decide=decide)
            return f"{asked.decision}"

    agents = [Asking("A"), Speaker("B", "b", seconds=3)]
    debate = Debate(agents, Speaker("M", "done"), rounds=0, round_timeout=8, parallel_responses=False)
    result = virtual(lambda clock: debate.run("topic"))
    assert [said.content for said in result.messages] == ["approved", "b"]
    assert result.total_duration_ms == 63_000


@pytest.mark.spec("O19")
def test_each_run_costs_its_own_calls_judge_and_moderator_included() -> None:
    panel = Panel(consensus="judge", require_consensus=True, moderator="no verdict")

    async def main(clock: VirtualClock) -> list[DebateResult]:
        return [await panel.pattern.run("one"), await panel.pattern.run("two")]

    results = virtual(main)
    assert len(panel.calls) == 2 * (9 + 2 + 1)
    for result in results:
        assert result.total_cost - 12.0 == 0 and result.usage.calls == 12


@pytest.mark.spec("O19")
def test_costs_of_debates_three_deep_are_counted_once() -> None:
    def make(calls: Calls) -> Pipeline:
        inner = Panel({"a": "x", "b": "y"}, calls=calls, rounds=1, name="Inner").pattern
        outer = Debate([inner, Speaker("B", "b", calls, cost=1.0)], Speaker("M", "m", calls, cost=1.0), rounds=1)
        return Pipeline([outer, Speaker("End", "e", calls, cost=1.0)])

    calls = Calls()
    result = virtual(lambda clock: make(calls).run("x"))
    assert result.total_cost - len(calls) == 0 and len(calls) == 2 * 5 + 2 + 1 + 1
    assert sum(step.usage.cost for step in result.steps) == result.total_cost
    assert "0:Debate/r1/0:Inner/conclusion" in calls.places()


@pytest.mark.spec("O30")
def test_a_budget_ends_it_with_what_was_said() -> None:
    panel = Panel({"A": None, "B": None}, rounds=3)
    result = panel.run(budget=Budget(max_calls=5))
    assert len(panel.calls) == 5
    assert (result.stopped, result.success, result.content) == ("budget", False, "")
    assert [said.success for said in result.messages] == [True] * 5 + [False]
    assert result.rounds_completed == 1 and result.usage.calls == 5
    one_by_one = Panel({"A": None, "B": None}, rounds=3, parallel_responses=False).run(budget=Budget(max_calls=5))
    assert one_by_one.stopped == "budget" and sum(said.success for said in one_by_one.messages) == 5
    concluding = Panel({"A": None, "B": None}, rounds=1).run(budget=Budget(max_calls=4))
    assert (concluding.stopped, len(concluding.messages), concluding.rounds_completed) == ("budget", 4, 1)


@pytest.mark.spec("O48")
@pytest.mark.parametrize("parallel", [True, False])
def test_cancelled_in_the_middle_it_keeps_what_was_said(parallel: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        seconds = {"A": 1.0, "B": 1.0, "C": 1.5}
        panel = Panel(seconds=seconds, parallel_responses=parallel)
        handle = panel.pattern.start("topic")
        await clock.sleep(2.75 if parallel else 5.0)
        partial = handle.partial()
        assert partial is not None
        said = [(message.agent_name, message.round) for message in partial.messages]
        last = [("A", 1), ("B", 1)] if parallel else [("A", 1)]
        assert said == [("A", 0), ("B", 0), ("C", 0), *last]
        await handle.cancel("enough")
        result = await handle
        assert (result.stopped, result.success, result.error) == ("cancelled", False, "enough")
        assert [(message.agent_name, message.round) for message in result.messages] == said
        assert (result.content, result.rounds_completed, result.usage.calls) == ("", 0, len(said))
        assert panel.calls.cancelled == (["r1/2:C"] if parallel else ["r1/1:B"])
        await clock.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)


@pytest.mark.spec("O48")
def test_an_agent_that_does_not_listen_is_left_after_a_second(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Speaker):
        async def chat(self, message: str) -> str:
            while not freed.is_set():
                try:
                    await freed.wait()
                except asyncio.CancelledError:
                    continue
            return "late"

    freed = asyncio.Event()

    async def main(clock: VirtualClock) -> None:
        handle = Debate([Deaf("A"), Speaker("B", "b")], rounds=1).start("topic")
        await clock.sleep(1)
        before = clock.monotonic()
        await handle.cancel()
        assert clock.monotonic() - before == 1.0
        result = await handle
        assert [said.content for said in result.messages] == ["b"]
        freed.set()
        await clock.sleep(0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)
    assert "call A does not end although it was cancelled: it is abandoned" in caplog.text


@pytest.mark.spec("O49")
@pytest.mark.parametrize("make", [_troubled, _judged, _slow, _decided])
def test_two_runs_under_one_seed_and_a_virtual_clock_are_byte_equal(make: Any) -> None:
    first, second = Lives(make, "topic"), Lives(make, "topic")
    assert msgspec.json.encode(first.live().result) == msgspec.json.encode(second.live().result)
    assert list(first.steps.items()) == list(second.steps.items())
    assert [message for *_, message in first.calls.made] == [message for *_, message in second.calls.made]


@pytest.mark.spec("O49")
def test_one_debate_in_many_runs_at_once() -> None:
    def says(message: str) -> str:
        return f"{message.split()[1]} in {round_now()}"

    async def main(clock: VirtualClock) -> None:
        panel = Panel({"A": says, "B": says}, moderator=says_topic, seconds={"A": 1.0, "B": 2.0}, rounds=1)
        results = await asyncio.gather(*(panel.pattern.run(f"t{number}") for number in range(50)))
        for number, result in enumerate(results):
            assert {said.content for said in result.messages} == {f"t{number} in 0", f"t{number} in 1"}
            assert result.conclusion == f"about t{number}"

    def says_topic(message: str) -> str:
        return f"about {message.split()[1]}"

    virtual(main)
