"""Faults at named points: a crash, an error or a delay when a point is passed for the nth time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

__all__ = ["Faults", "SimulatedCrash"]


class SimulatedCrash(BaseException):
    """The program ends here, as by ``kill -9``. No ``except Exception`` may survive it."""


class Faults:
    """What goes wrong, and where. It is called with the name of each point that is passed, from any thread::

        faults = Faults()
        faults.crash("before_commit", at=3)
        database.faults = faults

    ``passed`` counts how often each point was passed. Points count from 1; each fault strikes once.
    """

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self._plan: dict[tuple[str, int], Callable[[], None]] = {}
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        """Pass *point*: raise or wait, if that was planned for this time."""
        with self._lock:
            self.passed[point] += 1
            strike = self._plan.pop((point, self.passed[point]), None)
        if strike is not None:
            strike()

    def crash(self, point: str, *, at: int = 1) -> None:
        """Raise SimulatedCrash when *point* is passed for the *at*-th time from the beginning."""
        self.error(point, SimulatedCrash(f"{point}, time {at}"), at=at)

    def error(self, point: str, error: BaseException, *, at: int = 1) -> None:
        """Raise *error* when *point* is passed for the *at*-th time from the beginning."""

        def strike() -> None:
            raise error

        self._add(point, at, strike)

    def delay(self, point: str, seconds: float, *, at: int = 1) -> None:
        """Keep the thread that passes *point* for the *at*-th time waiting for real *seconds*."""
        self._add(point, at, lambda: time.sleep(seconds))

    def _add(self, point: str, at: int, strike: Callable[[], None]) -> None:
        with self._lock:
            if at <= self.passed[point]:
                raise ValueError(f"{point!r} was already passed {self.passed[point]} times; at={at} will never come")
            if (point, at) in self._plan:
                raise ValueError(f"{point!r} has a fault at time {at} already")
            self._plan[point, at] = strike
