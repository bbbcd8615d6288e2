"""What boxes said to whom, without what they said."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from shoal.boxes.asked import check_handler
from shoal.kernel.ports import Clock

__all__ = ["Audit", "AuditRecord"]

_KEPT = 10_000
_NAME = 200  # letters that are kept of what a box calls its event, and of why it ended
_log = logging.getLogger(__name__)


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened.

    ``kind``: send, answer, publish, refusal, death, exec. ``name`` is an event's, or a command's program. ``bytes`` is the
    size of the data, ``duration_ms`` the time from a send to its answer, or a command's. ``outcome``: ok, or an error's
    class, or (death) the reason.
    """

    at: datetime
    seq: int
    kind: str
    sender: str
    target: str = ""
    name: str = ""
    request_id: int | None = None
    chain_id: int | None = None
    bytes: int = 0
    duration_ms: float | None = None
    outcome: str = "ok"


class Audit:
    """The last 10,000 records, and who listens to them."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is recorded yet."""
        self._clock = clock
        self._kept: collections.deque[AuditRecord] = collections.deque(maxlen=_KEPT)
        self._listeners: list[Callable[[AuditRecord], object]] = []
        self._count = 0

    def tail(self, n: int = 100) -> list[AuditRecord]:
        """Return the last *n* records, oldest first."""
        return list(self._kept)[-n:] if n > 0 else []

    def subscribe(self, fn: Callable[[AuditRecord], object]) -> Callable[[], None]:
        """Call *fn* with each record, on the loop, from now on; returns what ends that. What it raises is logged."""
        check_handler(fn, "a listener")
        self._listeners.append(fn)

        def end() -> None:
            if fn in self._listeners:
                self._listeners.remove(fn)

        return end

    def note(self, kind: str, sender: str, **fields: object) -> None:
        """Record what has happened now."""
        self._count += 1
        for field in ("name", "outcome"):
            if len(str(fields.get(field, ""))) > _NAME:
                fields[field] = str(fields[field])[:_NAME]
        record = AuditRecord(at=self._clock.now(), seq=self._count, kind=kind, sender=sender, **fields)  # type: ignore[arg-type]
        self._kept.append(record)
        for listener in list(self._listeners):
            try:
                listener(record)
            except Exception:  # noqa: BLE001 - whatever a listener raises is its own affair
                _log.exception("a listener of the audit raised")
