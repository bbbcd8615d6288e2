"""The time of one agent: it stands still while the agent is paused."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from types import TracebackType

from shoal.kernel.ports import Clock, Timer

__all__ = ["OwnTime", "OwnTimer"]

MOST_OFF = 16
"""So many timers that were called off stay on the heap at most, or as many as there are others."""


class OwnTime:
    """What limits an agent's work in time. Belongs to one event loop.

    Most time-outs never strike, so setting one is a push on a heap, and calling it off a mark, as in asyncio's own loop;
    the clock has one timer for all of them, which may come for nothing.
    """

    __slots__ = ("_armed", "_at", "_clock", "_lost", "_made", "_off", "_since", "_timers", "held")

    def __init__(self, clock: Clock) -> None:
        self.held = False
        self._clock = clock
        self._since = 0.0  # when it was held last
        self._lost = 0.0  # for how many seconds it stood still
        self._timers: list[tuple[float, int, OwnTimer]] = []  # a heap; those made earlier first
        self._made = 0
        self._off = 0  # how many on the heap were called off
        self._armed: Timer | None = None
        self._at = 0.0  # the own time at which the clock's timer strikes

    def __len__(self) -> int:
        """Return how many timers have neither struck nor been called off."""
        return len(self._timers) - self._off

    def timer(self, seconds: float, callback: Callable[[], object]) -> OwnTimer:
        """Call *callback* after *seconds* of this time."""
        deadline = self.now() + seconds
        timer = OwnTimer(self, deadline, callback)
        self._made += 1
        heapq.heappush(self._timers, (deadline, self._made, timer))
        if not self.held and (self._armed is None or deadline < self._at):
            self._arm(deadline, seconds)
        return timer

    def limit(self, seconds: float | None) -> _Limit | _NoLimit:
        """Return a block that raises TimeoutError after *seconds* of this time (None: never)."""
        return _NO_LIMIT if seconds is None else _Limit(self, seconds)

    def now(self) -> float:
        """Return this time in seconds, on a scale of its own."""
        return (self._since if self.held else self._clock.monotonic()) - self._lost

    def hold(self) -> None:
        """Let it stand still; holding it again does nothing."""
        if not self.held:
            self.held = True
            self._since = self._clock.monotonic()
            self._disarm()

    def go_on(self) -> None:
        """Let it go on."""
        if self.held:
            self.held = False
            self._lost += self._clock.monotonic() - self._since
            self._arm_next()

    def called_off(self) -> None:
        """Hear that a timer on the heap will not strike."""
        self._off += 1
        if self._off == len(self._timers):
            self._timers.clear()
            self._off = 0
        elif self._off > MOST_OFF and 2 * self._off > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].off]
            heapq.heapify(self._timers)
            self._off = 0

    def _arm(self, at: float, seconds: float) -> None:
        self._disarm()
        self._at = at
        self._armed = self._clock.call_later(seconds, self._strike)

    def _arm_next(self) -> None:
        if self._timers and not self.held:
            at = self._timers[0][0]
            self._arm(at, max(0.0, at - self.now()))

    def _disarm(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None

    def _strike(self) -> None:
        self._armed = None
        if self.held:
            return  # held in the very turn in which the clock's timer struck
        due = max(self._at, self.now())  # what the clock's timer was set for is due, however it rounds
        try:
            while self._timers and (self._timers[0][0] <= due or self._timers[0][2].off):
                timer = heapq.heappop(self._timers)[2]
                if timer.off:
                    self._off -= 1
                else:
                    timer.strike()
        finally:
            self._arm_next()


class OwnTimer:
    """A call that will happen after some of an agent's own time."""

    __slots__ = ("_callback", "_deadline", "_time")

    def __init__(self, time: OwnTime, deadline: float, callback: Callable[[], object]) -> None:
        self._time = time
        self._deadline = deadline
        self._callback: Callable[[], object] | None = callback  # None: it has struck or was called off

    @property
    def off(self) -> bool:
        """Tell whether it will not strike any more."""
        return self._callback is None

    @property
    def over(self) -> bool:
        """Tell whether its time has come, also when the loop had no chance to say so."""
        return self._time.now() >= self._deadline

    def cancel(self) -> None:
        """Call it off."""
        if self._callback is not None:
            self._callback = None
            self._time.called_off()

    def strike(self) -> None:
        """Make the call (``OwnTime`` says when)."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class _Limit:
    """As ``asyncio.timeout``, in an agent's own time."""

    __slots__ = ("_before", "_expired", "_seconds", "_task", "_time", "_timer")

    def __init__(self, time: OwnTime, seconds: float) -> None:
        self._time = time
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a time limit needs an asyncio task"
        self._task = task
        self._before = task.cancelling()
        self._timer = self._time.timer(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


class _NoLimit:
    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *raised: object) -> None:
        return None


_NO_LIMIT = _NoLimit()
