"""Agents in line: transformers, failures, times, nesting."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from shoal.kernel.ambient import current_ambient
from shoal.kernel.budget import Budget
from shoal.orchestration import ParallelAgents, Pipeline
from shoal.testing.clock import VirtualClock
from tests.support.replay import Lives, check_every_death, check_many_deaths, without_times
from tests.support.speakers import AtClock, Calls, Speaker, virtual


def _three(calls: Calls, **options: Any) -> list[Speaker]:
    return [Speaker(name, None, calls, **options) for name in ("A", "B", "C")]


@pytest.mark.spec("O12")
def test_transformers_make_the_inputs_sync_and_async() -> None:
    async def quoted(text: str) -> str:
        return f"'{text}'"

    calls = Calls()
    pipeline = Pipeline(
        _three(calls, seconds=1), {0: lambda text: f"first {text}", 1: quoted, 2: lambda text: f"last {text}"}
    )
    result = virtual(lambda clock: pipeline.run("x"))
    assert [step.input for step in result.steps] == ["first x", "'A(first x)'", "last B('A(first x)')"]
    assert [message for _, _, message in calls.made] == [step.input for step in result.steps]
    assert all(step.duration_ms > 0 for step in result.steps) and len(result.steps) == 3
    assert result.content == result.last_output == "C(last B('A(first x)'))"
    assert (result.success, result.error, result.failed_step, result.route) == (True, None, None, None)


def test_without_a_transformer_the_text_is_passed_on() -> None:
    assert virtual(lambda clock: Pipeline(_three(Calls())).run("x")).content == "C(B(A(x)))"


@pytest.mark.spec("O12")
@pytest.mark.parametrize("stop_on_error", [True, False])
def test_a_transformer_that_raises_makes_one_entry_and_its_agent_is_not_called(stop_on_error: bool) -> None:
    def fails(text: str) -> str:
        raise LookupError("no template")

    calls = Calls()
    pipeline = Pipeline(_three(calls), {1: fails}, stop_on_error=stop_on_error)
    result = virtual(lambda clock: pipeline.run("x"))
    failed = result.failed_step
    assert failed is not None
    assert (failed.agent_name, failed.failed_in, failed.error, failed.input) == (
        "B",
        "transformer",
        "no template",
        "A(x)",
    )
    assert not result.success
    if stop_on_error:
        assert (calls.places(), len(result.steps), result.content) == (["0:A"], 2, "")
    else:
        assert (calls.places(), len(result.steps), result.content) == (["0:A", "2:C"], 3, "C(A(x))")


@pytest.mark.spec("O13")
def test_the_second_agent_raises() -> None:
    def agents() -> list[Speaker]:
        return [Speaker("A"), Speaker("B", ValueError("no")), Speaker("C")]

    stopped = virtual(lambda clock: Pipeline(agents()).run("x"))
    assert (len(stopped.steps), stopped.content, stopped.success, stopped.error) == (2, "", False, "no")
    went_on = virtual(lambda clock: Pipeline(agents(), stop_on_error=False).run("x"))
    assert (len(went_on.steps), went_on.content, went_on.success) == (3, "C(A(x))", False)
    assert went_on.steps[2].input == "A(x)", "the failed step's input goes to the next"
    for result in (stopped, went_on):
        assert result.failed_step is result.steps[1]
        assert (result.steps[1].failed_in, result.steps[1].agent_name) == ("agent", "B")


def test_a_step_that_takes_too_long_fails() -> None:
    async def dawdles(text: str) -> str:
        await clock_of[0].sleep(99)
        return text

    clock_of: list[VirtualClock] = []

    async def main(clock: VirtualClock) -> None:
        clock_of.append(clock)
        slow = Pipeline([Speaker("A"), Speaker("B", seconds=9), Speaker("C")], step_timeout=2, stop_on_error=False)
        result = await slow.run("x")
        assert (result.steps[1].error, result.content, clock.monotonic()) == ("Timeout", "C(A(x))", 2.0)
        result = await Pipeline([Speaker("A")], {0: dawdles}, step_timeout=2).run("x")
        assert (result.steps[0].error, result.steps[0].failed_in) == ("Timeout", "transformer")
        assert clock.monotonic() == 4.0

    virtual(main)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"transformers": {7: str}}, ValueError, "transformer 7: there are 3 agents"),
        ({"transformers": {-1: str}}, ValueError, "transformer -1: there are 3 agents"),
        ({"transformers": {"a": str}}, ValueError, "transformer 'a': there are 3 agents"),
        ({"transformers": {1: "x"}}, TypeError, "transformer 1 must be a function of the text, not str"),
        ({"step_timeout": -1}, ValueError, "step_timeout=-1: it must be seconds above 0, or None"),
        ({"step_timeout": float("nan")}, ValueError, "step_timeout=nan: it must be seconds above 0, or None"),
        ({"stop_on_error": 1}, ValueError, "stop_on_error=1: it must be True or False"),
    ],
)
@pytest.mark.spec("O50")
def test_bad_settings_are_refused(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        Pipeline(_three(Calls()), **options)
    assert str(caught.value) == text


@pytest.mark.spec("O50")
def test_a_transformer_that_makes_no_text_fails_its_step() -> None:
    result = virtual(lambda clock: Pipeline(_three(Calls()), {1: lambda text: 3}).run("x"))
    assert result.error == "the function at 1:transform returned int, expected str"


@pytest.mark.spec("O50")
def test_an_empty_message_is_refused_before_any_call() -> None:
    calls = Calls()
    for message, kind, text in (
        ("  ", ValueError, "message is empty"),
        (3, TypeError, "message must be a str, not int"),
    ):
        for ask in (Pipeline(_three(calls)).run, Pipeline(_three(calls)).chat, Pipeline(_three(calls)).start):
            with pytest.raises(kind) as caught:
                virtual(lambda clock, ask=ask, given=message: ask(given))  # type: ignore[misc]
            assert str(caught.value) == text
    assert len(calls) == 0


# -- nested


def _deep(calls: Calls, cost: float | None = None) -> Pipeline:
    """A pipeline that holds two at once, one of which holds a pipeline, and whose transformer asks two more."""

    def speaker(name: str) -> Speaker:
        return Speaker(name, None, calls, seconds=1, cost=cost)

    inner = ParallelAgents([speaker("p"), Pipeline([speaker("q"), speaker("r")], name="Line")], name="Both")
    others = ParallelAgents([speaker("s"), speaker("t")], name="Others")

    async def analysed(text: str) -> str:
        return f"{text} + {(await others.chat('look')).to_context('plain')}"

    return Pipeline([speaker("A"), inner, speaker("C")], {2: analysed})


@pytest.mark.spec("O19")
def test_costs_are_counted_once_however_deep() -> None:
    calls = Calls()
    for _ in range(2):
        before = len(calls)
        result = virtual(lambda clock: _deep(calls, cost=1.0).run("x"))
        assert result.total_cost - (len(calls) - before) == 0
        assert sum(step.usage.cost for step in result.steps) == result.total_cost == 7.0


def test_places_are_keys() -> None:
    calls = Calls()
    virtual(lambda clock: _deep(calls).run("x"))
    assert set(calls.places()) == {
        "0:A", "1:Both/0:p", "1:Both/1:Line/0:q", "1:Both/1:Line/1:r", "2:transform/0:s", "2:transform/1:t", "2:C"
    }  # fmt: skip


@pytest.mark.spec("O30")
def test_a_budget_over_three_nested_patterns_allows_exactly_its_calls() -> None:
    for allowed in range(8):
        calls = Calls()
        run = functools.partial(_deep(calls).run, "x", budget=Budget(max_calls=allowed))
        result = virtual(lambda clock, run=run: run())  # type: ignore[misc]
        assert len(calls) == min(allowed, 7)
        if allowed < 7:
            assert (result.stopped, result.success) == ("budget", False)
            assert (result.content != "") == (allowed > 0), "finished work is there"
            assert result.usage.calls == allowed
        else:
            assert result.stopped is None and result.success
    five = virtual(lambda clock: _deep(Calls()).run("x", budget=Budget(max_calls=3)))
    assert [step.success for step in five.steps] == [True, False]
    assert five.steps[1].output == "1. [p]: p(A(x))"
    assert five.error == "budget exceeded: max_calls of the run: 3 used, 1 more needed"


def test_a_refused_call_is_no_step() -> None:
    result = virtual(lambda clock: Pipeline(_three(Calls())).run("x", budget=Budget(max_calls=1)))
    assert ([step.output for step in result.steps], result.content) == (["A(x)"], "A(x)")


def test_a_larger_budget_on_the_same_run_goes_on_and_repays_nothing() -> None:
    whole = Lives(_deep, "x").live().result
    for allowed in range(7):
        lives = Lives(_deep, "x", budget=Budget(max_calls=allowed))
        assert lives.live().result.stopped == "budget"
        lives.budget = Budget(max_calls=7)
        assert without_times(lives.live().result) == without_times(whole)
        assert len(lives.calls) == 7


def test_a_share_ends_its_part_and_the_rest_goes_on() -> None:
    calls = Calls()
    part = Pipeline(_three(calls), name="Part", budget=Budget(max_calls=2))
    whole = Pipeline([part, Speaker("D", None, calls)], stop_on_error=False, budget=Budget(max_calls=9))
    result = virtual(lambda clock: whole.run("x"))
    assert (result.stopped, result.content) == (None, "D(x)")
    assert (result.steps[0].success, result.steps[0].output) == (False, "B(A(x))")
    assert result.steps[0].error == "budget exceeded: max_calls of 0:Part: 2 used, 1 more needed"
    alone = virtual(lambda clock: part.run("x", budget=Budget(max_calls=1)))
    assert (alone.stopped, alone.content) == ("budget", "A(x)"), "both budgets hold"
    assert virtual(lambda clock: part.run("x", budget=Budget(max_calls=5))).content == "B(A(x))"


def test_the_time_of_a_budget_is_over() -> None:
    async def main(clock: VirtualClock) -> None:
        result = await Pipeline(_three(Calls(), seconds=2)).run("x", budget=Budget(max_seconds=5))
        assert (result.stopped, result.content, clock.monotonic()) == ("budget", "B(A(x))", 5.0)

    virtual(main)


def test_a_timer_that_is_a_little_early_does_not_make_a_time_out_of_a_budget() -> None:
    class Early(VirtualClock):
        def timeout(self, seconds: float | None) -> asyncio.Timeout:
            return super().timeout(None if seconds is None else seconds * 0.999)

    async def main(clock: VirtualClock) -> None:
        current_ambient.set(AtClock(Early()))
        result = await Pipeline(_three(Calls(), seconds=2)).run("x", budget=Budget(max_seconds=5))
        assert (result.stopped, result.content, [step.error for step in result.steps]) == (
            "budget",
            "B(A(x))",
            [None, None],
        )

    virtual(main)


def test_partial_results_show_what_is_finished_at_every_level() -> None:
    async def main(clock: VirtualClock) -> None:
        handle = _deep(Calls()).start("x")
        seen = []
        for _ in range(5):
            await clock.sleep(0.5)
            partial = handle.partial()
            assert partial is not None
            seen.append([(step.agent_name, step.success, step.output) for step in partial.steps])
            assert not partial.success
            await clock.sleep(0.5)
        assert seen[0] == []
        assert seen[1] == [("A", True, "A(x)"), ("Both", False, "")]
        assert seen[2] == [("A", True, "A(x)"), ("Both", False, "1. [p]: p(A(x))")]
        assert (await handle).success and handle.partial() == await handle

    virtual(main)


@pytest.mark.spec("O48")
def test_a_cancelled_run_keeps_its_finished_steps() -> None:
    async def main(clock: VirtualClock) -> None:
        handle = _deep(Calls()).start("x")
        await clock.sleep(2.5)
        await handle.cancel()
        result = await handle
        assert (result.stopped, result.success) == ("cancelled", False)
        assert [step.output for step in result.steps] == ["A(x)", "1. [p]: p(A(x))"]

    virtual(main)


def _six(calls: Calls) -> Pipeline:
    return Pipeline([Speaker(f"a{n}", None, calls, seconds=1, cost=0.1) for n in range(6)], {3: str.upper})


def _troubled(calls: Calls) -> Pipeline:
    def fails(text: str) -> str:
        raise LookupError("no template")

    agents = [Speaker("A", None, calls), Speaker("B", ValueError("no"), calls), Speaker("C", seconds=20, calls=calls)]
    return Pipeline([*agents, Speaker("D", None, calls), _deep(calls)], {3: fails}, step_timeout=9, stop_on_error=False)


@pytest.mark.parametrize("make", [_six, _deep, _troubled])
def test_it_dies_anywhere_and_goes_on(make: Any) -> None:
    assert check_every_death(make, "x") >= 18
    assert check_every_death(make, "x", budget=Budget(max_calls=50)) >= 18
    check_many_deaths(make, "x", [3, 1, 2, 5, 1, 1, 4, 2])
