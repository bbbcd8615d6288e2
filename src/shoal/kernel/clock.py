"""The real clock. No other module reads the time, sleeps or draws random numbers."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["LineTimer", "RealClock", "as_utc", "epoch", "from_epoch", "uuid7"]


def epoch(moment: datetime) -> int:
    """Return *moment* as whole microseconds since 1970, the form in which times are stored."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_epoch(micros: int) -> datetime:
    """Return the aware UTC time of *micros* microseconds since 1970."""
    seconds, micro = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micro)


def as_utc(moment: datetime) -> datetime:
    """Return *moment* in UTC; a naive one is local time."""
    return moment.astimezone(UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RealClock:
    """Wall clock, monotonic clock, timers and the random source of ids and jitter of one runtime."""

    virtual = False

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)
        self._timers_of: asyncio.AbstractEventLoop | None = None
        self._lines: dict[float, _Line] = {}

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.now(UTC)

    def micros(self) -> int:
        """Return the present as whole microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``monotonic()`` reaches *deadline*."""
        await asyncio.sleep(max(0.0, deadline - self.monotonic()))

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context that raises TimeoutError after *seconds* (None: never)."""
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> LineTimer:
        """Call *callback* on the running loop after *seconds*; the handle can be cancelled."""
        loop = asyncio.get_running_loop()
        if loop is not self._timers_of:
            self._timers_of, self._lines = loop, {}
        line = self._lines.get(seconds)
        if line is None:
            line = self._lines[seconds] = _Line(self, loop, seconds)
        return line.add(callback)

    def forget_line(self, seconds: float, line: _Line) -> None:
        """Let go of a line in which nobody stands."""
        if self._lines.get(seconds) is line:
            del self._lines[seconds]

    def every(self, seconds: float, callback: Callable[[], object], *, name: str) -> Callable[[], None]:
        """Call *callback* every *seconds* in a thread of its own, so that a blocked event loop cannot hold it up.

        A call that took longer than that is followed by the next one at once. Returns a function that ends it and waits for
        a call under way. An error of *callback* ends the thread loudly.
        """
        ended = threading.Event()

        def beat() -> None:
            due = self.monotonic() + seconds
            while not ended.wait(max(0.0, due - self.monotonic())):
                callback()
                due = max(due + seconds, self.monotonic())

        thread = threading.Thread(target=beat, name=name, daemon=True)
        thread.start()

        def stop() -> None:
            ended.set()
            if thread is not threading.current_thread():
                thread.join(timeout=seconds + 5)

        return stop

    def new_id(self) -> str:
        """Return a UUID of version 7 (RFC 9562): ids made later sort later."""
        return uuid7(self.micros(), self.random.getrandbits(64))


def uuid7(micros: int, chance: int) -> str:
    """Return the UUID of version 7 made at *micros* since 1970, with *chance*, 64 random bits."""
    millis, micro = divmod(micros, 1000)
    high = (millis << 16) | 0x7000 | (micro * 4 + (chance & 3))
    text = f"{high:016x}{0x8000000000000000 | (chance >> 2):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class LineTimer:
    """A call that stands in line with others of the same duration."""

    __slots__ = ("_callback", "_called", "_waiting", "deadline")

    def __init__(self, waiting: dict[LineTimer, None], callback: Callable[[], object], deadline: float) -> None:
        self._waiting = waiting
        self._callback = callback
        self._called: asyncio.Handle | None = None
        self.deadline = deadline

    def fall_due(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the line, and be called in the next turn of *loop*."""
        del self._waiting[self]
        self._called = loop.call_soon(self._callback)

    def cancel(self) -> None:
        """Call it off: from then on it is not called, also when it has fallen due."""
        if self._called is None:
            self._waiting.pop(self, None)
        else:
            self._called.cancel()


class _Line:
    """Calls of one duration fall due in the order in which they were asked for, so one timer of the loop serves all.

    Most time-outs never strike: setting and calling off one costs two operations on a dict (the idea of timing wheels,
    Varghese and Lauck 1987, with a wheel for each duration in use).
    """

    def __init__(self, clock: RealClock, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._clock = clock
        self._loop = loop
        self._seconds = seconds
        self._waiting: dict[LineTimer, None] = {}
        self._armed = False

    def add(self, callback: Callable[[], object]) -> LineTimer:
        """Put a call in line."""
        timer = LineTimer(self._waiting, callback, self._clock.monotonic() + self._seconds)
        self._waiting[timer] = None
        if not self._armed:
            self._arm(self._seconds)
        return timer

    def _arm(self, seconds: float) -> None:
        self._armed = True
        self._loop.call_later(max(0.0, seconds), self._due)

    def _due(self) -> None:
        self._armed = False
        now = self._clock.monotonic()
        while self._waiting:
            timer = next(iter(self._waiting))
            if timer.deadline > now:
                self._arm(timer.deadline - now)
                return
            timer.fall_due(self._loop)
        self._clock.forget_line(self._seconds, self)
