"""What a balancer knows of each instance: its own requests there, and what protects it."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any

import msgspec

from shoal.services.breaker import CircuitBreaker
from shoal.services.bulkhead import Bulkhead
from shoal.services.info import AgentRecord

__all__ = ["Reply", "Tally", "WorkerStats"]

LAST = 256
"""From so many of the last answers are the times of ``WorkerStats``."""


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one balancer has asked of one instance.

    Attributes:
        requests: how often it was asked, second attempts included.
        successes: how many were answered well.
        failures: how many were not.
        retried: how many of these were sent to another instance afterwards.
        in_flight: how many wait for their answer.
        p50_ms, p95_ms: how long the last answers took, in milliseconds; None before the first.
        breaker: closed, open or half_open; None without one.
    """

    requests: int = 0
    successes: int = 0
    failures: int = 0
    retried: int = 0
    in_flight: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    breaker: str | None = None


class Reply(msgspec.Struct, frozen=True):
    """An answer that came through a balancer.

    Attributes:
        data: the answer.
        record: the instance that gave it.
        attempts: how many were made, this one included.
        duration_ms: milliseconds from the call to the answer, all attempts included.
    """

    data: dict[str, Any]
    record: AgentRecord
    attempts: int
    duration_ms: float


class Tally:
    """Counts the requests to one instance."""

    __slots__ = ("_life", "_seconds", "breaker", "bulkhead", "failures", "requests", "retried", "successes")

    def __init__(self, breaker: CircuitBreaker | None, bulkhead: Bulkhead | None) -> None:
        self.breaker = breaker
        self.bulkhead = bulkhead
        self.requests = 0
        self.successes = 0
        self.failures = 0
        self.retried = 0
        self._life: datetime | None = None
        self._seconds: deque[float] = deque(maxlen=LAST)

    def meet(self, record: AgentRecord) -> None:
        """Look at a record of the instance. A new life begins with a closed breaker: the old one's failures are not its own.

        An older record than the newest changes nothing.
        """
        life = record.started_at or record.registered_at
        if self._life is None or life > self._life:
            if self._life is not None and self.breaker is not None:
                self.breaker.reset()
            self._life = life

    def answered(self, seconds: float) -> None:
        """Note a good answer."""
        self.successes += 1
        self._seconds.append(seconds)

    def stats(self, in_flight: int) -> WorkerStats:
        """Return the present numbers."""
        ordered = sorted(self._seconds)
        last = len(ordered) - 1
        return WorkerStats(
            requests=self.requests,
            successes=self.successes,
            failures=self.failures,
            retried=self.retried,
            in_flight=in_flight,
            p50_ms=ordered[last // 2] * 1000 if ordered else None,
            p95_ms=ordered[last * 95 // 100] * 1000 if ordered else None,
            breaker=self.breaker.state if self.breaker is not None else None,
        )
