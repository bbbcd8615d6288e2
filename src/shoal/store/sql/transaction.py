"""Reading, and writing within one transaction, through whichever driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from shoal.kernel.clock import epoch
from shoal.kernel.event import SEVERITY, Fact, Severity
from shoal.kernel.payload import encode
from shoal.kernel.trace import Span

__all__ = ["Driver", "Params", "Reader", "Refusal", "Row", "Transaction"]

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]

_INSERT_EVENT = """INSERT INTO events (timestamp, event_type, severity, agent_id, task_id, run_id, node_id, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_ADD_COUNTS = """UPDATE task_counts SET pending = pending + :pending, ready = ready + :ready,
    running = running + :running, completed = completed + :completed, failed = failed + :failed,
    cancelled = cancelled + :cancelled"""
_COUNTS = "SELECT pending, ready, running, completed, failed, cancelled FROM task_counts"
_COUNTED: tuple[str, ...] = ("pending", "ready", "running", "completed", "failed", "cancelled")


class Driver(Protocol):
    """One connection. Parameters stand in a text as ``?`` or ``:name``; texts are constant, so that they are prepared
    once. What only one database understands (``INDEXED BY``, ``json_each``), the driver of another puts in its words."""

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run a statement and return all rows."""
        ...

    def execute(self, sql: str, params: Params) -> int:
        """Run a statement that writes and return how many rows it changed."""
        ...

    def executemany(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement that writes once for each of *params*."""
        ...

    def begin(self) -> None:
        """Begin a transaction in which what is read stays as it is until it is written."""
        ...

    def seal(self) -> None:
        """Called before what has one order among all nodes is written, at the end of a transaction."""
        ...

    def commit(self) -> None:
        """End the transaction: what it wrote is on disk."""
        ...

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        ...

    def written(self) -> int:
        """Return a number that differs after any write of this connection."""
        ...


class Reader:
    """Reads in one consistent view."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """Return all rows."""
        return self._driver.rows(sql, params)

    def one(self, sql: str, params: Params = ()) -> Row | None:
        """Return the first row, or None."""
        found = self._driver.rows(sql, params)
        return found[0] if found else None

    def value(self, sql: str, params: Params = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self._driver.rows(sql, params)
        return found[0][0] if found else None

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand where."""
        return dict(zip(_COUNTED, self.rows(_COUNTS)[0], strict=True))


class Transaction(Reader):
    """What an operation writes with. Events and counts are gathered and written at the end of the group."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._events: list[Row] = []
        self._counts: dict[str, int] | None = None
        self._counted: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self._announce = False
        self._now: tuple[datetime | None, int] = (None, 0)
        self.span: Span | None = None  # within which the present operation was asked: its events tell it

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement that writes and return how many rows it changed."""
        return self._driver.execute(sql, params)

    def executemany(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement that writes once for each of *params*."""
        self._driver.executemany(sql, params)

    def emit(self, fact: Fact, now: datetime) -> None:
        """Write an event; it gets its id at the end of the group."""
        moment, micros = self._now
        if moment is not now:
            micros = epoch(now)
            self._now = (now, micros)
        kind = str(fact.event_type)
        self._events.append(
            (
                micros, kind, str(SEVERITY.get(kind, Severity.INFO)), fact.agent_id, fact.task_id, fact.run_id,
                fact.node_id, self._details(fact),
            )
        )  # fmt: skip

    def _details(self, fact: Fact) -> str | None:
        details, span = fact.details, self.span
        if span is not None:
            details = {"trace_id": span.trace_id, "span_id": span.span_id, **details}
        return encode(details).decode() if details else None

    def announce(self) -> None:
        """Have the ``on_commit`` callbacks called after this commit, as every event does."""
        self._announce = True

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand where, with what this group has counted."""
        if self._counts is None:
            self._counts = super().counts()
        return self._counts

    def count(self, **changes: int) -> None:
        """Add to the numbers of tasks: ``count(pending=-1, running=1)``."""
        stored = self.counts()
        for name, change in changes.items():
            stored[name] += change
            self._counted[name] += change

    # for the database only

    def begin(self) -> None:
        """Begin a group of operations."""
        self._forget()
        self._driver.begin()

    def mark(self) -> tuple[int, int]:
        """Return something that differs after any write."""
        return self._driver.written(), len(self._events)

    def flush(self) -> bool:
        """Write what was gathered; tell whether somebody wants to hear of this commit."""
        announce = self._announce or bool(self._events)
        if any(self._counted.values()):
            self._driver.execute(_ADD_COUNTS, self._counted)
        if announce:
            self._driver.seal()
        if self._events:
            self._driver.executemany(_INSERT_EVENT, self._events)
        return announce

    def commit(self) -> None:
        """End the group: it is on disk."""
        self._driver.commit()

    def rollback(self) -> None:
        """Undo the group."""
        self._forget()
        self._driver.rollback()

    def _forget(self) -> None:
        self._events.clear()
        self._counts = None
        self._announce = False
        for name in _COUNTED:
            self._counted[name] = 0


class Refusal(msgspec.Struct, frozen=True):
    """Returned by an operation whose caller gets *error* although what it wrote is kept: an event of the refusal."""

    error: Exception
