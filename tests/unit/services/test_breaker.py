"""The circuit breaker, in virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shoal.errors import AgentDied, CircuitOpen, NotFound, RequestError, RequestTimeout
from shoal.services import codes
from shoal.services.breaker import CircuitBreaker, verdict
from shoal.testing.clock import VirtualClock, run_virtual


async def fails(error: BaseException | None = None) -> None:
    raise error or RequestError(codes.EXECUTION_ERROR, "broken")


async def answers() -> str:
    return "fine"


async def fail(breaker: CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(type(error or RequestError("x"))):
            await breaker.call(fails, error)


@pytest.mark.spec("S32")
def test_it_opens_at_the_fifth_failure_tries_once_after_thirty_seconds_and_closes() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(clock=clock)
        assert breaker.state == "closed"
        await fail(breaker, 4)
        assert breaker.state == "closed"
        await fail(breaker)
        assert breaker.state == "open"

        begun = time.perf_counter()
        for _ in range(1000):
            with pytest.raises(CircuitOpen):
                await breaker.call(answers)
        assert (time.perf_counter() - begun) / 1000 < 0.01, "refused at once (ten times the figure)"

        await clock.sleep(29.9)
        assert breaker.state == "open"
        with pytest.raises(CircuitOpen, match=r"tried again in 0\.1 s") as refused:
            await breaker.call(answers)
        assert refused.value.code == "CIRCUIT_OPEN"
        await clock.sleep(0.1)
        assert breaker.state == "half_open"

        go_on = asyncio.Event()

        async def slow() -> str:
            await go_on.wait()
            return "fine"

        trial = asyncio.ensure_future(breaker.call(slow))
        await clock.sleep(0)
        with pytest.raises(CircuitOpen, match="being tried"):
            await breaker.call(answers)
        go_on.set()
        assert await trial == "fine"
        assert breaker.state == "closed"
        await fail(breaker, 4)
        assert breaker.state == "closed", "the old failures are forgotten"

    run_virtual(main)


@pytest.mark.spec("S32")
def test_a_trial_that_fails_opens_it_again() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(clock=clock)
        await fail(breaker, 5)
        await clock.sleep(30)
        await fail(breaker, 1, RequestTimeout("late"))
        assert breaker.state == "open"
        await clock.sleep(29.9)
        assert breaker.state == "open"
        await clock.sleep(0.1)
        assert await breaker.call(answers) == "fine"
        assert breaker.state == "closed"

    run_virtual(main)


@pytest.mark.spec("S32")
@pytest.mark.parametrize(
    "error", [RequestError("NO_SUCH_ACCOUNT"), NotFound("no such id"), RequestError(codes.VALIDATION_ERROR)]
)
def test_business_errors_do_not_count(error: RequestError) -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(clock=clock)
        await fail(breaker, 20, error)
        assert breaker.state == "closed"
        await fail(breaker, 4)
        await fail(breaker, 1, error)
        await fail(breaker, 4)
        assert breaker.state == "closed", "an answer is an answer: the row was broken"
        await fail(breaker, 1)
        assert breaker.state == "open"

    run_virtual(main)


def test_failures_must_lie_within_the_window() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(window=60, clock=clock)
        for _ in range(10):
            await fail(breaker)
            await clock.sleep(15.1)
        assert breaker.state == "closed"
        await fail(breaker, 1)
        await clock.sleep(5)
        await fail(breaker, 2)
        assert breaker.state == "open", "the last five came within 60 s"

    run_virtual(main)


def test_a_success_breaks_the_row() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=2, clock=clock)
        for _ in range(5):
            await fail(breaker)
            await breaker.call(answers)
        assert breaker.state == "closed"

    run_virtual(main)


def test_what_began_before_says_nothing_later() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)
        old = breaker.enter()
        older = breaker.enter()
        await fail(breaker)
        old.ended(True)
        assert breaker.state == "open", "a late success of the time before does not close it"
        await clock.sleep(30)
        trial = breaker.enter()
        older.ended(False)
        assert breaker.state == "half_open"
        trial.ended(True)
        trial.ended(False)
        assert breaker.state == "closed", "an end is told once"

    run_virtual(main)


def test_a_cancelled_trial_gives_its_place_back() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)
        await fail(breaker)
        await clock.sleep(30)
        trial = asyncio.ensure_future(breaker.call(clock.sleep, 10))
        await clock.sleep(1)
        assert not breaker.allows()
        trial.cancel()
        await asyncio.wait([trial])
        assert breaker.state == "half_open"
        assert breaker.allows()

    run_virtual(main)


def test_several_trials_at_a_time() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=1, half_open_max_calls=2, clock=clock)
        await fail(breaker)
        await clock.sleep(30)
        first, second = breaker.enter(), breaker.enter()
        with pytest.raises(CircuitOpen):
            breaker.enter()
        first.ended(None)
        breaker.enter().ended(True)
        second.ended(False)
        assert breaker.state == "closed"

    run_virtual(main)


def test_as_a_block_in_several_asyncio_tasks_at_a_time() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=3, clock=clock)

        async def block(seconds: float, error: Exception | None) -> None:
            async with breaker, breaker:
                await clock.sleep(seconds)
                if error is not None:
                    raise error

        ends = await asyncio.gather(
            *(block(n, ValueError(n) if n % 2 else None) for n in range(6)), return_exceptions=True
        )
        assert [type(end) for end in ends] == [type(None), ValueError] * 3
        assert breaker.state == "closed"
        assert breaker._entered == {}
        with pytest.raises(ValueError):
            await block(0, ValueError())
        assert breaker.state == "open", "the last of before, and twice this one"
        with pytest.raises(CircuitOpen):
            await block(0, None)
        breaker.reset()
        assert breaker.state == "closed"
        await block(0, None)

    run_virtual(main)


def test_it_calls_plain_functions_too() -> None:
    async def main(clock: VirtualClock) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)
        assert await breaker.call(max, 3, 7) == 7
        with pytest.raises(ZeroDivisionError):
            await breaker.call(lambda: 1 / 0)
        assert breaker.state == "open"

    run_virtual(main)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True),
        (AgentDied(), False),
        (RequestTimeout(), False),
        (RequestError(codes.EXECUTION_ERROR), False),
        (OSError(), False),
        (RequestError("MINE"), True),
        (RequestError(codes.DRAINING), None),
        (RequestError(codes.MAILBOX_FULL), None),
        (CircuitOpen(), None),
        (asyncio.CancelledError(), None),
    ],
)
def test_verdicts(error: BaseException | None, expected: bool | None) -> None:
    assert verdict(error) is expected


@pytest.mark.parametrize("name", ["failure_threshold", "recovery_timeout", "half_open_max_calls", "window"])
@pytest.mark.parametrize("value", [0, -1])
def test_bad_numbers_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        CircuitBreaker(**{name: value})
