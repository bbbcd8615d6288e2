"""The bulkhead: how many run, how many wait, who comes first."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import RequestError
from shoal.services.bulkhead import Bulkhead
from shoal.testing.clock import VirtualClock, run_virtual


@pytest.mark.spec("S33")
def test_ten_at_once_a_hundred_wait_the_next_is_refused_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        bulkhead = Bulkhead()
        order: list[int] = []
        most = 0

        async def block(number: int) -> None:
            nonlocal most
            async with bulkhead:
                order.append(number)
                most = max(most, bulkhead.running)
                await clock.sleep(1)

        blocks = [asyncio.ensure_future(block(number)) for number in range(110)]
        await clock.sleep(0)
        assert (bulkhead.running, bulkhead.waiting) == (10, 100)
        with pytest.raises(RequestError, match="BULKHEAD_FULL") as refused:
            await block(111)
        assert refused.value.code == "BULKHEAD_FULL"
        assert clock.monotonic() == 0, "at once"
        await asyncio.gather(*blocks)
        assert clock.monotonic() == 11
        assert order == list(range(110)), "first come, first served"
        assert most == 10
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    run_virtual(main)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30), st.integers(0, 3))
def test_whoever_gives_up_leaves_no_place_taken(callers: list[tuple[int, int, bool]], seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        bulkhead = Bulkhead(2, 3)
        inside = 0

        async def block(seconds: int) -> None:
            nonlocal inside
            async with bulkhead:
                inside += 1
                assert inside <= 2
                try:
                    await clock.sleep(seconds)
                finally:
                    inside -= 1

        async def caller(begin: int, seconds: int, gives_up: bool) -> None:
            await clock.sleep(begin)
            try:
                async with clock.timeout(2 if gives_up else None):
                    await block(seconds)
            except (RequestError, TimeoutError):
                return

        await asyncio.gather(*(caller(*each) for each in callers))
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    run_virtual(main, seed=seed, shuffle=True)


def test_a_place_that_comes_just_when_its_waiter_gives_up_goes_to_the_next() -> None:
    async def main(clock: VirtualClock) -> None:
        bulkhead = Bulkhead(1, 2)
        await bulkhead.__aenter__()
        first = asyncio.ensure_future(bulkhead.__aenter__())
        second = asyncio.ensure_future(bulkhead.__aenter__())
        await clock.sleep(0)
        await bulkhead.__aexit__(None, None, None)
        first.cancel()  # it has its place and does not know it yet
        assert await second is bulkhead
        assert first.cancelled()
        await bulkhead.__aexit__(None, None, None)
        assert bulkhead.running == 0

    run_virtual(main)


@pytest.mark.parametrize(("running", "waiting"), [(0, 1), (-1, 1), (1, -1)])
def test_bad_numbers_are_refused(running: int, waiting: int) -> None:
    with pytest.raises(ValueError, match="must"):
        Bulkhead(running, waiting)
