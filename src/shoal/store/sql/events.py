"""The append-only log.

Events are nearly in the order of time, so a time is turned into an id by bisection; that saves an index over times,
which every event would pay for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import Event, EventFilter, Fact, Severity
from shoal.kernel.payload import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlEvents", "append", "prune_events"]

_COLUMNS = "event_id, timestamp, event_type, severity, agent_id, task_id, run_id, node_id, details"
_NOTE = "severity <> 'info'"  # as the index has it, word for word
_DISORDER = 60_000_000  # µs that an event may be written later than one with a later time
_PAGE = 500
_PROBE = 2000  # index entries counted to find out which filter leaves the fewest
_NEWEST = 2**63 - 1
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
_INDEXES = {
    "task_id": "events_by_task",
    "run_id": "events_by_run",
    "agent_id": "events_by_agent",
    "event_type": "events_by_type",
    "node_id": "events_by_node",
}


class SqlEvents:
    """``kernel.ports.Events`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def append(self, facts: Sequence[Fact], *, now: datetime) -> Awaitable[None]:
        """Write events that belong to no other verb."""
        return self._db.write(append, tuple(facts), now)

    def query(self, filters: EventFilter, limit: int) -> Sequence[Event]:
        """Return up to *limit* matching events, newest first unless ``filters.oldest_first``."""
        return self._db.read(_query, filters, limit, not filters.oldest_first)

    def scan(self, filters: EventFilter) -> Iterator[Event]:
        """Yield all matching events, oldest first, in bounded memory."""
        after = filters.after_id or 0
        newest = self.last_id()
        while after < newest:
            page = self._db.read(_query, filters, _PAGE, False, after, newest)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].event_id

    def last_id(self) -> int:
        """Return the id of the newest event, 0 when there is none."""
        return self._db.read(_last_id)


def prune_events(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove those of the *limit* oldest events that are older than *before*, never the newest of all."""
    # The newest row stays so that its id is never given again.
    return cx.execute(
        """DELETE FROM events WHERE event_id IN (
            SELECT event_id FROM (SELECT event_id, timestamp FROM events ORDER BY event_id LIMIT :limit)
            WHERE timestamp < :before AND event_id < (SELECT max(event_id) FROM events))""",
        {"before": epoch(before), "limit": limit},
    )


def append(cx: Transaction, facts: tuple[Fact, ...], now: datetime) -> None:
    """Write events that belong to no other verb."""
    for fact in facts:
        cx.emit(fact, now)


def _last_id(cx: Reader) -> int:
    return cx.value("SELECT max(event_id) FROM events") or 0


def _query(
    cx: Reader, filters: EventFilter, limit: int, newest_first: bool, after: int = 0, up_to: int = _NEWEST
) -> list[Event]:
    low, high = _bounds(cx, filters, after, up_to)
    severities = _severities(filters)
    if low >= high or not severities:
        return []
    conditions = ["event_id > :low", "event_id <= :high"]
    values: dict[str, Any] = {"low": low, "high": high, "limit": limit}
    for column in _INDEXES:
        wanted = getattr(filters, column)
        if wanted is not None:
            conditions.append(f"{column} = :{column}")
            values[column] = str(wanted)
    notable = Severity.INFO not in severities
    if len(severities) < len(Severity):
        words = ", ".join(f"'{severity}'" for severity in sorted(severities))
        conditions.append(f"severity IN ({words})")
    if notable:
        conditions.append(_NOTE)
    if filters.since is not None:
        conditions.append("timestamp >= :since")
        values["since"] = epoch(filters.since)
    if filters.until is not None:
        conditions.append("timestamp <= :until")
        values["until"] = epoch(filters.until)
    source = _best_index(cx, values, notable)
    order = "DESC" if newest_first else "ASC"
    found = cx.rows(
        f"""SELECT {_COLUMNS} FROM events {source} WHERE {" AND ".join(conditions)}
            ORDER BY event_id {order} LIMIT :limit""",
        values,
    )
    return [_event(row) for row in found]


def _severities(filters: EventFilter) -> set[Severity]:
    """Return the severities that a reader wants."""
    wanted = set(Severity)
    if filters.severity is not None:
        wanted &= {filters.severity}
    if filters.min_severity is not None:
        wanted &= {severity for severity in Severity if _RANKS[severity] >= _RANKS[filters.min_severity]}
    return wanted


def _best_index(cx: Reader, values: dict[str, Any], notable: bool) -> str:
    """Return the clause that names the index which leaves the fewest rows to look at.

    Without statistics SQLite would take any of them, and with them what was true when they were gathered.
    """
    candidates = {index: f"{column} = :{column}" for column, index in _INDEXES.items() if column in values}
    if notable:
        candidates["events_of_note"] = _NOTE
    if not candidates:
        return "NOT INDEXED"
    if len(candidates) == 1:
        return f"INDEXED BY {next(iter(candidates))}"
    best, fewest = "", _NEWEST
    for index, condition in candidates.items():
        count = cx.value(
            f"""SELECT count(*) FROM (SELECT 1 FROM events INDEXED BY {index}
                WHERE {condition} AND event_id > :low AND event_id <= :high LIMIT {_PROBE})""",
            values,
        )
        if count < fewest:
            best, fewest = index, count
    return f"INDEXED BY {best}"


def _bounds(cx: Reader, filters: EventFilter, after: int, up_to: int) -> tuple[int, int]:
    """Return the ids (exclusive, inclusive) outside which no event can match."""
    low = max(after, filters.after_id or 0)
    high = min(up_to, _last_id(cx))
    if filters.since is not None and low < high:
        low = max(low, _last_before(cx, epoch(filters.since) - _DISORDER))
    if filters.until is not None and low < high:
        high = min(high, _last_before(cx, epoch(filters.until) + _DISORDER + 1))
    return low, high


def _last_before(cx: Reader, moment: int) -> int:
    """Return an id at and before which events are older than *moment*, as far as they are in order."""
    low = (cx.value("SELECT min(event_id) FROM events") or 1) - 1
    high = _last_id(cx)
    while low < high:
        middle = (low + high + 1) // 2
        # Ids may have gaps: the event at the middle is the first one from there.
        found = cx.one(
            "SELECT event_id, timestamp FROM events WHERE event_id >= ? ORDER BY event_id LIMIT 1", (middle,)
        )
        assert found is not None, "the newest event is never removed"
        if found[1] < moment:
            low = found[0]
        else:
            high = middle - 1
    return low


def _event(row: tuple[Any, ...]) -> Event:
    event_id, timestamp, event_type, severity, agent_id, task_id, run_id, node_id, details = row
    return Event(
        event_id=event_id,
        timestamp=from_epoch(timestamp),
        event_type=event_type,
        severity=Severity(severity),
        agent_id=agent_id,
        task_id=task_id,
        run_id=run_id,
        node_id=node_id,
        details=decode(details) if details else {},
    )
