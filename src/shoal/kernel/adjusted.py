"""A node's clock, put right by the clock that all nodes of a store have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from shoal.kernel.ports import Clock

__all__ = ["CLOSE_MICROS", "AdjustedClock"]

CLOSE_MICROS = 1000
"""Clocks that are no further apart, beyond what the round trip hides, are taken to agree."""


class AdjustedClock:
    """``Clock``: the time of day is that of *clock* moved by ``ahead`` microseconds, all else is its own.

    Durations, timers and chance need no other node. From any thread.
    """

    def __init__(self, clock: Clock, ahead: int = 0) -> None:
        self._clock = clock
        self._by = timedelta(microseconds=ahead)
        self.ahead = ahead
        self.random = clock.random
        self.virtual = clock.virtual
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep
        self.sleep_until = clock.sleep_until
        self.timeout = clock.timeout
        self.call_later = clock.call_later
        self.every = clock.every
        self.new_id = clock.new_id

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return self._clock.now() + self._by

    def micros(self) -> int:
        """Return the present as whole microseconds since 1970."""
        return self._clock.micros() + self.ahead

    def set(self, ahead: int) -> None:
        """Be so many microseconds ahead of the node's own clock from now on."""
        self._by = timedelta(microseconds=ahead)
        self.ahead = ahead

    def set_by(self, ask: Callable[[], int]) -> int:
        """Put the clock right, if it is not; return how far ahead of the node's own it is now.

        The other clock was read at some moment between the question and the answer (Cristian, "Probabilistic clock
        synchronization", 1989). What is possible by that is left as it is: so clocks that agree stay the same to the
        microsecond. Else the question took no time: then a lease ends no sooner than its holder believes.

        Args:
            ask: returns the microseconds since 1970 of the other clock.
        """
        asked = self._clock.micros()
        other = ask()
        answered = self._clock.micros()
        if not other - answered - CLOSE_MICROS <= self.ahead <= other - asked + CLOSE_MICROS:
            self.set(other - asked)
        return self.ahead
