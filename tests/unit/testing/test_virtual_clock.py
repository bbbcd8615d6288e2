"""The virtual clock: time jumps, outside work is waited for, deadlocks are named, the same seed gives the same run."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from shoal import AgentRuntime
from shoal.testing.clock import VirtualClock, run_checked, run_virtual
from shoal.testing.faults import SimulatedCrash
from shoal.testing.loop import StuckError

HOURS = 3600.0


def test_ten_hours_pass_in_a_moment() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        seen = []
        for _ in range(3600):
            await clock.sleep(10)
            seen.append(clock.monotonic())
        return seen

    begun = time.monotonic()
    seen = run_virtual(main)
    assert seen == [10.0 * n for n in range(1, 3601)]
    assert time.monotonic() - begun < 10  # one second as a rule; ten guards against waiting


def test_now_is_the_start_plus_the_time_passed() -> None:
    async def main(clock: VirtualClock) -> None:
        assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
        await clock.sleep_until(1.5)
        assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=1.5)
        with pytest.raises(TimeoutError):
            async with clock.timeout(20):
                await asyncio.Event().wait()
        assert clock.monotonic() == 21.5

    run_virtual(main)


def test_every_beats_at_virtual_times_until_it_is_ended() -> None:
    async def main(clock: VirtualClock) -> None:
        beats: list[float] = []

        def beat() -> None:
            beats.append(clock.monotonic())
            if len(beats) == 3:
                stop()

        stop = clock.every(2, beat, name="beat")
        await clock.sleep(100)
        assert beats == [2, 4, 6]

    run_virtual(main)


def test_work_in_a_thread_is_waited_for_really() -> None:
    async def main(clock: VirtualClock) -> None:
        at_work = asyncio.create_task(asyncio.to_thread(time.sleep, 0.05))
        sleeper = asyncio.create_task(clock.sleep(60))
        await at_work
        assert not sleeper.done()
        assert clock.monotonic() < 60
        await sleeper
        assert clock.monotonic() == 60

    run_virtual(main)


def test_time_goes_on_at_its_real_pace_while_a_thread_waits_for_the_loop() -> None:
    async def main(clock: VirtualClock) -> None:
        released = threading.Event()
        at_work = asyncio.create_task(asyncio.to_thread(released.wait))
        await clock.sleep(0.02)
        released.set()
        assert await at_work

    run_virtual(main)


def test_a_thread_inside_outside_is_waited_for() -> None:
    async def main(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def work() -> None:
            with loop.outside():  # type: ignore[attr-defined]
                begun.set()
                time.sleep(0.05)
                loop.call_soon_threadsafe(done.set)

        begun = threading.Event()
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        async with clock.timeout(3600):
            await done.wait()
        thread.join()
        assert clock.monotonic() == 0

    run_virtual(main)


def test_a_deadlock_names_the_asyncio_tasks_and_where_they_wait() -> None:
    async def main(clock: VirtualClock) -> None:
        async def waits_for_nothing() -> None:
            await asyncio.Event().wait()

        await asyncio.create_task(waits_for_nothing(), name="poor-one")

    with pytest.raises(StuckError, match=r"(?s)poor-one: .*waits_for_nothing.*Event\.wait \(locks\.py"):
        run_virtual(main)


def test_an_endless_heartbeat_ends_at_the_limit() -> None:
    async def main(clock: VirtualClock) -> None:
        clock.every(5, lambda: None, name="beat")
        await asyncio.Event().wait()

    with pytest.raises(StuckError, match="not done after 100 virtual seconds"):
        run_virtual(main, limit_seconds=100)


def _orders(*, shuffle: bool) -> list[str]:
    async def main(clock: VirtualClock) -> str:
        order: list[str] = []

        async def step(name: str) -> None:
            for _ in range(2):
                await asyncio.sleep(0)
                order.append(name)

        await asyncio.gather(*(step(name) for name in "abcd"))
        return "".join(order)

    return [run_virtual(main, seed=seed, shuffle=shuffle) for seed in range(10)]


def test_without_shuffle_every_seed_keeps_asyncios_order() -> None:
    assert set(_orders(shuffle=False)) == {"abcdabcd"}


def test_shuffle_permutes_the_asyncio_tasks_of_a_turn_and_repeats_with_the_seed() -> None:
    orders = _orders(shuffle=True)
    assert len(set(orders)) > 5
    assert orders == _orders(shuffle=True)
    assert all(sorted(order[:4]) == list("abcd") for order in orders), "a turn is never mixed with the next"


def test_shuffle_keeps_the_order_of_callbacks() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        seen: list[int] = []
        for n in range(20):
            asyncio.get_running_loop().call_soon(seen.append, n)
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main, shuffle=True) == list(range(20))


def test_ids_are_unique_sorted_and_follow_from_the_seed() -> None:
    async def main(clock: VirtualClock) -> list[str]:
        return [clock.new_id() for _ in range(1000)]

    ids = run_virtual(main, seed=7)
    assert sorted(set(ids)) == ids
    assert ids == run_virtual(main, seed=7) != run_virtual(main, seed=8)


@pytest.mark.parametrize("cyclic", [False, True])
def test_an_error_that_nobody_awaited_is_raised_at_the_end(cyclic: bool) -> None:
    async def fails() -> None:
        raise ValueError("lost")

    async def main() -> None:
        kept: list[object] = [asyncio.get_running_loop().create_task(fails())]
        if cyclic:
            kept.append(kept)
        await asyncio.sleep(0.01)

    with pytest.raises(ValueError, match="lost"):
        run_checked(main)


def test_a_simulated_crash_ends_everything_wherever_it_strikes() -> None:
    async def main(clock: VirtualClock) -> None:
        def crash() -> None:
            raise SimulatedCrash("here")

        clock.call_later(1, crash)
        await asyncio.Event().wait()

    with pytest.raises(SimulatedCrash, match="here"):
        run_virtual(main)


def test_a_runtime_in_virtual_time_is_on_a_machine_that_is_never_busy() -> None:
    async def main(clock: VirtualClock) -> tuple[float, float, float]:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            await clock.sleep(10)
            found = runtime.get_capacity()
            return found.cpu_load, found.memory_used_mb, found.memory_total_mb

    assert run_virtual(main) == (0.0, 0.0, 1024.0)
