"""What is called again and again, from a thread."""

from __future__ import annotations

import threading
import time

from shoal.kernel.clock import RealClock

EVERY = 0.4


def test_a_call_that_took_long_is_followed_by_the_next_one_at_once() -> None:
    begun: list[float] = []
    enough = threading.Event()

    def call() -> None:
        begun.append(time.monotonic())
        if len(begun) == 1:
            time.sleep(1.5 * EVERY)
        elif len(begun) == 3:
            enough.set()

    end = RealClock().every(EVERY, call, name="calls")
    assert enough.wait(30)
    end()
    first, second, third = begun[:3]
    assert second - first < 2 * EVERY, "it waited for as long again"
    assert third - second > EVERY / 4, "and what was missed is not made up for"
