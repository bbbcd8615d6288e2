"""The store of events."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from shoal.kernel.event import Event, EventFilter, Fact

__all__ = ["Events"]


class Events(Protocol):
    """The append-only log."""

    def append(self, facts: Sequence[Fact], *, now: datetime) -> Awaitable[None]:
        """Write events that belong to no other verb."""
        ...

    # readers
    def query(self, filters: EventFilter, limit: int) -> Sequence[Event]:
        """Return up to *limit* matching events, newest first unless ``filters.oldest_first``."""
        ...

    def scan(self, filters: EventFilter) -> Iterator[Event]:
        """Yield all matching events, oldest first, in bounded memory."""
        ...

    def last_id(self) -> int:
        """Return the id of the newest event, 0 when there is none."""
        ...
