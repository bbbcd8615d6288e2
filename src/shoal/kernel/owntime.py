"""The time of one agent: it stands still while the agent is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from shoal.kernel.ports import Clock, Timer

__all__ = ["OwnTime", "OwnTimer"]


class OwnTime:
    """What limits an agent's work in time. Belongs to one event loop."""

    __slots__ = ("_lost", "_since", "clock", "held", "timers")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.held = False
        self._since = 0.0  # when it was held last
        self._lost = 0.0  # for how many seconds it stood still
        self.timers: dict[OwnTimer, None] = {}

    def timer(self, seconds: float, callback: Callable[[], object]) -> OwnTimer:
        """Call *callback* after *seconds* of this time."""
        return OwnTimer(self, seconds, callback)

    def limit(self, seconds: float | None) -> _Limit | _NoLimit:
        """Return a block that raises TimeoutError after *seconds* of this time (None: never)."""
        return _NO_LIMIT if seconds is None else _Limit(self, seconds)

    def now(self) -> float:
        """Return this time in seconds, on a scale of its own."""
        return (self._since if self.held else self.clock.monotonic()) - self._lost

    def hold(self) -> None:
        """Let it stand still; holding it again does nothing."""
        if not self.held:
            self.held = True
            self._since = self.clock.monotonic()
            for timer in self.timers:
                timer.hold()

    def go_on(self) -> None:
        """Let it go on."""
        if self.held:
            self.held = False
            self._lost += self.clock.monotonic() - self._since
            for timer in self.timers:
                timer.go_on()


class OwnTimer:
    """A call that will happen after some of an agent's own time."""

    __slots__ = ("_callback", "_deadline", "_left", "_time", "_timer")

    def __init__(self, time: OwnTime, seconds: float, callback: Callable[[], object]) -> None:
        self._time = time
        self._left = seconds
        self._callback = callback
        self._timer: Timer | None = None
        time.timers[self] = None
        if not time.held:
            self.go_on()

    @property
    def over(self) -> bool:
        """Tell whether its time has come, also when the loop had no chance to say so."""
        return self._timer is not None and self._time.clock.monotonic() >= self._deadline

    def cancel(self) -> None:
        """Call it off."""
        self._time.timers.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        """Let its time go on (``OwnTime`` says when)."""
        self._deadline = self._time.clock.monotonic() + self._left
        self._timer = self._time.clock.call_later(self._left, self._strike)

    def hold(self) -> None:
        """Let its time stand still (``OwnTime`` says when)."""
        if self._timer is not None:
            self._left = max(0.0, self._deadline - self._time.clock.monotonic())
            self._timer.cancel()
            self._timer = None

    def _strike(self) -> None:
        self._time.timers.pop(self, None)
        self._callback()


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
        self._timer = OwnTimer(self._time, self._seconds, self._expire)

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
