"""Spare children: started, loaded, and waiting for their first and only agent."""

from __future__ import annotations

from collections.abc import Callable

from shoal.boxes.child import ChildProcess
from shoal.kernel.ports import Clock, Timer

__all__ = ["Spares"]

_QUIET_SECONDS = 0.05  # a burst of launches is over: now there is time for spares


class Spares:
    """Keeps *wanted* spare children, from the first ``take`` on. A child that was handed out never comes back."""

    def __init__(self, wanted: int, spawn: Callable[[], ChildProcess], clock: Clock) -> None:
        self._wanted = wanted
        self._spawn = spawn
        self._clock = clock
        self._idle: list[ChildProcess] = []
        self._timer: Timer | None = None
        self._closed = False

    def take(self) -> ChildProcess:
        """Return a spare child, or a new one when there is none. Raises BoxStartError."""
        child = self._idle.pop(0) if self._idle else self._spawn()
        self._refill_later()
        return child

    def _refill_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(_QUIET_SECONDS, self._refill)

    def _refill(self) -> None:
        self._timer = None
        while not self._closed and len(self._idle) < self._wanted:
            child = self._spawn()
            child.owner = _Idle(self._idle, child)
            self._idle.append(child)

    def close(self) -> list[ChildProcess]:
        """Keep no more; returns the spares, which are for the caller to end."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        idle, self._idle = self._idle, []
        return idle


class _Idle:
    """Owns a spare child: nothing that it says matters but that it has ended."""

    def __init__(self, idle: list[ChildProcess], child: ChildProcess) -> None:
        self._idle = idle
        self._child = child

    def on_frame(self, kind: int, body: bytes) -> None:
        """Hear hello and loaded."""

    def on_line(self, stream: str, line: str) -> None:
        """A spare has nothing to say."""

    def on_exit(self, code: int) -> None:
        """Forget it."""
        if self._child in self._idle:
            self._idle.remove(self._child)
