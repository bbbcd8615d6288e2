"""Attempts, waits, fallbacks, and calls held back together; in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from shoal.errors import (
    ContextTooLongError,
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    ScriptExhaustedError,
)
from shoal.llm import Model, ModelRequest, open_model, scripted
from shoal.llm.retrying import Attempt, Gate, Pace, place_of, with_retries
from shoal.testing.clock import VirtualClock, run_virtual
from tests.unit.llm.requests import asked


class Still:
    """Chance that takes nothing away."""

    def random(self) -> float:
        return 0.0


def plan(*said: object) -> Model:
    """A model that says one thing per attempt, the last one for ever."""

    async def due(request: ModelRequest) -> object:
        await asyncio.sleep(0)  # others may begin meanwhile
        return said[min(request.attempt, len(said)) - 1]

    return scripted({"": due})


def ask(
    clock: VirtualClock, *models: Model, retries: int = 2, told: list[Attempt] | None = None, **options: Any
) -> Any:
    async def call(model: Model, attempt: int) -> str:
        return (await model.request(asked(attempt=attempt))).text

    pace = Pace(**{"clock": clock, "random": Still(), "gate": Gate(), **options})
    notes: list[Attempt] = [] if told is None else told
    return with_retries(call, models=models, retries=retries, pace=pace, on_attempt=notes.append)


DOWN = ModelUnavailableError("down")


def limited(seconds: float | None) -> ModelRateLimitError:
    return ModelRateLimitError("too many", retry_after=seconds)


@pytest.mark.parametrize(
    ("said", "passed", "attempts"),
    [
        (["ok"], 0, 1),
        ([DOWN, "ok"], 0.5, 2),
        ([DOWN, ModelTimeoutError("late"), "ok"], 1.5, 3),
        ([limited(7), "ok"], 7, 2),
        ([limited(None), "ok"], 0.5, 2),
        ([limited(0), "ok"], 0, 2),
        ([limited(3600), "ok"], 60, 2),
        ([DOWN, limited(7), "ok"], 7.5, 3),
    ],
)
def test_waits(said: list[object], passed: float, attempts: int) -> None:
    told: list[Attempt] = []

    async def main(clock: VirtualClock) -> None:
        assert await ask(clock, plan(*said), told=told) == "ok"
        assert clock.monotonic() == passed

    run_virtual(main)
    assert [attempt.number for attempt in told] == list(range(1, attempts + 1))
    assert told[-1].error_type == "" and told[-1].wait_seconds is None
    assert [attempt.error_type for attempt in told[:-1]] == [type(error).__name__ for error in said[:-1]]
    assert sum(attempt.wait_seconds or 0 for attempt in told) == passed


def test_waits_double_and_never_exceed_a_minute() -> None:
    told: list[Attempt] = []

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(ModelUnavailableError):
            await ask(clock, plan(DOWN), retries=9, told=told)

    run_virtual(main)
    assert [attempt.wait_seconds for attempt in told] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, None]


def test_jitter_comes_from_the_chance_that_is_given() -> None:
    def waits(seed: int) -> list[float | None]:
        told: list[Attempt] = []

        async def main(clock: VirtualClock) -> None:
            with pytest.raises(ModelUnavailableError):
                await ask(clock, plan(DOWN), retries=6, told=told, random=random.Random(seed))

        run_virtual(main)
        return [attempt.wait_seconds for attempt in told[:-1]]

    assert waits(1) == waits(1) != waits(2)
    for wait, most in zip(waits(1), (0.5, 1, 2, 4, 8, 16), strict=True):
        assert wait is not None and most / 2 <= wait <= most


@pytest.mark.parametrize(
    "error", [ModelAuthError("401"), ModelRejectedError("404", status=404), ContextTooLongError("long")]
)
def test_a_final_error_is_not_tried_again(error: ModelError) -> None:
    told: list[Attempt] = []

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(type(error)):
            await ask(clock, plan(error), told=told)
        assert clock.monotonic() == 0

    run_virtual(main)
    assert len(told) == 1


def test_the_fallback_answers_and_all_attempts_are_told() -> None:
    told: list[Attempt] = []

    async def main(clock: VirtualClock) -> None:
        assert await ask(clock, plan(DOWN), plan("never"), told=told) == "never"

    run_virtual(main)
    assert [(attempt.number, attempt.error_type, attempt.wait_seconds) for attempt in told] == [
        (1, "ModelUnavailableError", 0.5),
        (2, "ModelUnavailableError", 1.0),
        (3, "ModelUnavailableError", None),
        (4, "", None),
    ]


def test_fallbacks_keep_the_same_rules_and_a_final_error_goes_to_the_next_at_once() -> None:
    told: list[Attempt] = []
    models = [plan(ModelAuthError("401")), plan(DOWN), plan(ContextTooLongError("long"))]

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(ContextTooLongError) as caught:
            await ask(clock, *models, retries=1, told=told)
        assert caught.value.__notes__ == [
            f"It was attempt 4; before it: scripted: ModelAuthError{', scripted: ModelUnavailableError' * 2}"
        ]
        assert clock.monotonic() == 0.5

    run_virtual(main)
    assert [attempt.number for attempt in told] == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [ScriptExhaustedError("a", 1, 1), ValueError("a fault of the program")])
def test_any_other_error_is_raised_as_it_is(error: Exception) -> None:
    async def main(clock: VirtualClock) -> None:
        with pytest.raises(type(error)):
            await ask(clock, plan(error), plan("never"))

    run_virtual(main)


def test_without_a_model_nothing_can_be_asked() -> None:
    async def main(clock: VirtualClock) -> None:
        with pytest.raises(ValueError, match="at least one model"):
            await ask(clock)

    run_virtual(main)


def together(*asks: Callable[[VirtualClock, Gate], Any]) -> list[float]:
    """Return when each ask was answered, all begun together behind one gate."""

    async def main(clock: VirtualClock) -> list[float]:
        gate = Gate()

        async def timed(begin: Callable[[VirtualClock, Gate], Any]) -> float:
            await begin(clock, gate)
            return clock.monotonic()

        return list(await asyncio.gather(*(timed(begin) for begin in asks)))

    return run_virtual(main)


def test_a_rate_limit_holds_back_the_other_calls_to_that_provider_and_key() -> None:
    async def late(clock: VirtualClock, gate: Gate) -> None:
        await clock.sleep(1)
        await ask(clock, plan("ok"), gate=gate)

    async def elsewhere(clock: VirtualClock, gate: Gate) -> None:
        await clock.sleep(1)
        other = plan("ok")
        other.name = "other"
        await ask(clock, other, gate=gate)

    def refused(clock: VirtualClock, gate: Gate) -> Any:
        return ask(clock, plan(limited(7), "ok"), gate=gate)

    assert together(refused, late, elsewhere) == [7, 7, 1]


def test_a_hold_is_extended_and_never_shortened() -> None:
    def refused(seconds: float) -> Callable[[VirtualClock, Gate], Any]:
        return lambda clock, gate: ask(clock, plan(limited(seconds), "ok"), gate=gate)

    assert together(refused(9), refused(3)) == [9, 9]


def test_the_last_refusal_holds_back_others_too() -> None:
    async def refused(clock: VirtualClock, gate: Gate) -> None:
        with pytest.raises(ModelRateLimitError):
            await ask(clock, plan(limited(5)), retries=0, gate=gate)

    async def late(clock: VirtualClock, gate: Gate) -> None:
        await clock.sleep(1)
        await ask(clock, plan("ok"), gate=gate)

    assert together(refused, late) == [0, 5]


def test_attempts_of_an_earlier_life_are_only_read_again() -> None:
    told: list[Attempt] = []

    async def main(clock: VirtualClock) -> None:
        gate = Gate()
        gate.hold("scripted", 100)
        model = plan(limited(7), limited(7), "ok")
        await ask(clock, model, told=told, gate=gate, known=lambda number: number < 4)
        assert clock.monotonic() == 0
        await ask(clock, model, gate=Gate(), known=lambda number: number < 2)
        assert clock.monotonic() == 14

    run_virtual(main)
    assert [attempt.wait_seconds for attempt in told] == [7, 7, None]


def test_models_of_one_provider_and_key_share_a_place_and_it_holds_no_key() -> None:
    def place(model: str, key: str) -> str:
        return place_of(open_model(model, api_key=key))

    one = place("openai:gpt-6-luna", "sk-test-1")
    assert one == place("openai:gpt-6.1-sol", "sk-test-1")
    assert one != place("openai:gpt-6-luna", "sk-test-2")
    assert one != place("anthropic:claude-haiku-4-5", "sk-test-1")
    assert "sk-test-1" not in one
    assert place_of(plan("x")) == "scripted"
