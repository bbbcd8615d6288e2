"""Whether a box still answers: a ping every five seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime

from shoal.boxes import wire
from shoal.kernel.ports import Clock, Timer

__all__ = ["Heartbeat"]

PING_SECONDS = 5.0
UNRESPONSIVE_SECONDS = 15.0


class Heartbeat:
    """Pings one box. A box that does not answer is *unresponsive*, and is not killed for it."""

    def __init__(self, clock: Clock, send: Callable[[wire.Ping], None]) -> None:
        """Nothing is sent before ``start``."""
        self._clock = clock
        self._send = send
        self._numbers = itertools.count(1)
        self._timer: Timer | None = None
        self._sent: dict[int, float] = {}
        self._answered_at = clock.monotonic()
        self.last_seen: datetime | None = None
        self.rtt_ms: float | None = None
        self.on_unresponsive: Callable[[], object] = lambda: None
        self._told = False

    def start(self) -> None:
        """Begin to ping."""
        if self._timer is None:
            self._answered_at = self._clock.monotonic()
            self._timer = self._clock.call_later(PING_SECONDS, self._ping)

    def stop(self) -> None:
        """Ping no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def unresponsive(self) -> bool:
        """Whether it has not answered for 15 s."""
        return self._timer is not None and self._clock.monotonic() - self._answered_at > UNRESPONSIVE_SECONDS

    def seen(self) -> None:
        """Note that it said something."""
        self.last_seen = self._clock.now()

    def answered(self, record: wire.Pong) -> None:
        """Take a pong."""
        now = self._clock.monotonic()
        sent = self._sent.pop(record.id, None)
        if sent is not None:
            self._answered_at = now
            self._told = False
            self.rtt_ms = round((now - sent) * 1000, 3)

    def _ping(self) -> None:
        number = next(self._numbers)
        self._sent = {key: at for key, at in self._sent.items() if key > number - 4}
        self._sent[number] = self._clock.monotonic()
        self._send(wire.Ping(id=number))
        if self.unresponsive and not self._told:
            self._told = True
            self.on_unresponsive()
        self._timer = self._clock.call_later(PING_SECONDS, self._ping)
