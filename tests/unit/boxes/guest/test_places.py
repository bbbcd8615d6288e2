from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from shoal.boxes.guest.places import Places


def test_no_more_than_there_are_and_in_the_order_of_asking() -> None:
    places = Places(1)
    assert places.take(None)
    assert not places.take(0.01)
    order: list[int] = []

    def ask(number: int) -> None:
        assert places.take(None)
        order.append(number)
        places.free()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        while len(places._waiting) <= number:
            time.sleep(0.001)
    places.free()
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert places.take(0)


def test_coroutines_wait_without_blocking_and_give_up_cleanly(run: Callable[..., Any]) -> None:
    async def main() -> None:
        places = Places(1)
        assert await places.take_async(None)
        assert not await places.take_async(0.01)
        waiting = [asyncio.create_task(places.take_async(None)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        places.free()
        assert await waiting[1]
        assert not waiting[2].done()
        waiting[2].cancel()
        places.free()  # at the same moment: the place must not be lost
        await asyncio.wait(waiting[2:])
        assert places.take(1)
        assert not places.take(0)

    run(main)


def test_a_place_given_at_the_moment_of_the_time_out_is_not_lost(run: Callable[..., Any]) -> None:
    async def main() -> None:
        for _ in range(50):
            places = Places(1)
            assert places.take(None)
            waiting = asyncio.create_task(places.take_async(0.001))
            await asyncio.sleep(0.001)
            places.free()
            got = await waiting
            await asyncio.sleep(0.002)
            assert places.take(0) is not got

    run(main)
