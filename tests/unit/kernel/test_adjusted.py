"""A clock that is put right by another one."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from shoal.kernel.adjusted import CLOSE_MICROS, AdjustedClock
from shoal.kernel.clock import RealClock, epoch, from_epoch

HOUR = 3_600_000_000


class StoppedClock(RealClock):
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.at = HOUR

    def micros(self) -> int:
        return self.at

    def now(self) -> datetime:
        return from_epoch(self.at)


def asked(clock: StoppedClock, other: int, there: int = 0, back: int = 0) -> int:
    """Return *other* after so many microseconds for the question and the answer."""
    clock.at += there + back
    return other


@pytest.mark.parametrize("wrong", [-2 * HOUR, -5 * CLOSE_MICROS, 5 * CLOSE_MICROS, 2 * HOUR])
def test_a_wrong_clock_is_put_right(wrong: int) -> None:
    own = StoppedClock()
    clock = AdjustedClock(own)
    assert clock.set_by(lambda: asked(own, own.at + wrong)) == clock.ahead == wrong
    assert clock.micros() == own.at + wrong == epoch(clock.now())


def test_clocks_that_may_agree_stay_the_same() -> None:
    own = StoppedClock()
    clock = AdjustedClock(own)
    for took in (0, 10, 5_000_000):
        assert clock.set_by(lambda took=took: asked(own, own.at + took // 2, took)) == 0  # type: ignore[misc]
    assert clock.set_by(lambda: asked(own, own.at + CLOSE_MICROS)) == 0
    assert clock.set_by(lambda: asked(own, own.at - CLOSE_MICROS)) == 0
    assert clock.now() == own.now()


@pytest.mark.parametrize("wrong", [-HOUR, HOUR])
@pytest.mark.parametrize("there, back", [(0, 0), (40_000, 0), (0, 40_000), (25_000, 15_000)])
def test_it_is_never_behind_the_other_and_ahead_by_one_round_trip_at_most(wrong: int, there: int, back: int) -> None:
    own = StoppedClock()
    clock = AdjustedClock(own)
    clock.set_by(lambda: asked(own, own.at + there + wrong, there, back))
    assert 0 <= clock.micros() - (own.at + wrong) <= there + back
    clock.set_by(lambda: asked(own, own.at + wrong))
    assert abs(clock.micros() - (own.at + wrong)) <= CLOSE_MICROS, "a quicker answer tells it better"


def test_it_follows_when_its_own_clock_is_set() -> None:
    own = StoppedClock()
    clock = AdjustedClock(own)
    true = own.at
    own.at += 2 * HOUR
    assert clock.set_by(lambda: true) == -2 * HOUR
    assert clock.micros() == true
    own.at -= 3 * HOUR
    assert clock.set_by(lambda: true) == HOUR
    assert clock.micros() == true


def test_durations_and_timers_are_those_of_its_own_clock() -> None:
    async def main() -> None:
        own = RealClock()
        clock = AdjustedClock(own, ahead=HOUR)
        assert clock.now() - own.now() > timedelta(minutes=59)
        began = own.monotonic()
        assert 0 <= clock.monotonic() - began < 1
        done = asyncio.Event()
        clock.call_later(0.01, done.set)
        async with clock.timeout(10):
            await done.wait()
            await clock.sleep(0.01)
            await clock.sleep_until(clock.monotonic() + 0.01)
        assert clock.random is own.random and clock.virtual is own.virtual
        assert clock.new_id() < clock.new_id()

    asyncio.run(main())
