"""An agent's own time stands still while it is held; timers of one duration fall due in order."""

from __future__ import annotations

import asyncio

import pytest

from shoal.kernel.owntime import OwnTime
from shoal.testing.clock import VirtualClock, run_virtual


def test_a_timer_strikes_after_so_much_of_the_agents_own_time() -> None:
    async def main(clock: VirtualClock) -> None:
        time, struck = OwnTime(clock), asyncio.Event()
        time.timer(5, struck.set)
        await clock.sleep(3)
        time.hold()
        await clock.sleep(100)
        assert not struck.is_set()
        time.go_on()
        await clock.sleep(1.9)
        assert not struck.is_set()
        await clock.sleep(0.2)
        assert struck.is_set() and not len(time)

    run_virtual(main)


def test_a_timer_that_begins_while_held_waits_for_the_time_to_go_on() -> None:
    async def main(clock: VirtualClock) -> None:
        time, struck = OwnTime(clock), asyncio.Event()
        time.hold()
        timer = time.timer(5, struck.set)
        await clock.sleep(50)
        assert not struck.is_set() and not timer.over
        time.go_on()
        await clock.sleep(5.1)
        assert struck.is_set()

    run_virtual(main)


def test_a_limit_raises_timeout_error_and_leaves_other_cancellations_alone() -> None:
    async def main(clock: VirtualClock) -> None:
        time = OwnTime(clock)
        with pytest.raises(TimeoutError), time.limit(1):
            await clock.sleep(10)
        assert clock.monotonic() == pytest.approx(1)
        with time.limit(None):
            await clock.sleep(10)

        async def inside() -> None:
            with time.limit(100):
                await clock.sleep(1000)

        task = asyncio.create_task(inside())
        await clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not len(time)

    run_virtual(main)


def test_calls_of_one_duration_strike_in_order_and_none_after_it_was_called_off() -> None:
    async def main(clock: VirtualClock) -> None:
        struck: list[int] = []
        timers = []
        for number in range(5):
            timers.append(clock.call_later(10, lambda number=number: struck.append(number)))  # type: ignore[misc]
            await clock.sleep(1)
        timers[1].cancel()
        timers[4].cancel()
        await clock.sleep(5.5)
        assert struck == [0]
        await clock.sleep(100)
        assert struck == [0, 2, 3]
        again = asyncio.Event()
        clock.call_later(10, again.set)
        await clock.sleep(9)
        assert not again.is_set()
        await clock.sleep(1.1)
        assert again.is_set()

    run_virtual(main)


def test_a_call_that_was_called_off_is_not_made_also_when_it_has_fallen_due() -> None:
    async def main(clock: VirtualClock) -> None:
        struck: list[str] = []

        def first() -> None:
            struck.append("first")
            second.cancel()

        clock.call_later(10, first)
        second = clock.call_later(10, lambda: struck.append("second"))  # in the same turn of the loop
        await clock.sleep(11)
        assert struck == ["first"]
        second.cancel()

    run_virtual(main)


def test_timers_strike_in_the_order_of_their_deadlines_however_many_were_called_off() -> None:
    async def main(clock: VirtualClock) -> None:
        time, struck = OwnTime(clock), list[float]()
        for seconds in (7, 3, 5, 0.5, 3):
            time.timer(seconds, lambda seconds=seconds: struck.append(seconds))  # type: ignore[misc]
            for _ in range(100):
                time.timer(4, lambda: struck.append(4)).cancel()
        await clock.sleep(4.5)
        assert struck == [0.5, 3, 3]
        time.timer(1, lambda: struck.append(1))
        time.hold()
        await clock.sleep(50)
        time.go_on()
        await clock.sleep(10)
        assert struck == [0.5, 3, 3, 5, 1, 7] and len(time) == 0

    run_virtual(main)


def test_a_timer_may_be_called_off_or_set_by_another_that_strikes() -> None:
    async def main(clock: VirtualClock) -> None:
        time, struck = OwnTime(clock), list[str]()
        later = [time.timer(2, lambda: struck.append("never")) for _ in range(50)]

        def strike() -> None:
            struck.append("first")
            for timer in later:
                timer.cancel()
            time.timer(0.5, lambda: struck.append("second"))

        time.timer(1, strike)
        await clock.sleep(10)
        assert struck == ["first", "second"] and len(time) == 0

    run_virtual(main)
