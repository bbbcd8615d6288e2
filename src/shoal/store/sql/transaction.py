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
from shoal.store.sql.new_rows import NewRows

__all__ = [
    "ADD_COUNTS", "COUNTED", "INSERT_EVENT", "Driver", "Gathered", "Params", "Reader", "Refusal", "Row", "Sole",
    "Transaction",
]  # fmt: skip

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]

INSERT_EVENT = """INSERT INTO events (timestamp, event_type, severity, agent_id, task_id, run_id, node_id, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
ADD_COUNTS = """UPDATE task_counts SET pending = pending + :pending, ready = ready + :ready,
    running = running + :running, completed = completed + :completed, failed = failed + :failed,
    cancelled = cancelled + :cancelled"""
_COUNTS = "SELECT pending, ready, running, completed, failed, cancelled FROM task_counts"
COUNTED: tuple[str, ...] = ("pending", "ready", "running", "completed", "failed", "cancelled")


class Gathered(msgspec.Struct, frozen=True):
    """What a transaction writes at its end.

    ``new``: rows, by statement. ``counted``: parameters of ``ADD_COUNTS``, None when no number has changed. ``events``:
    parameters of ``INSERT_EVENT``. ``announce``: somebody wants to hear of the commit.
    """

    new: Sequence[tuple[str, Sequence[Params]]]
    counted: Mapping[str, int] | None
    events: Sequence[Row]
    announce: bool


class Sole(msgspec.Struct, frozen=True):
    """What an operation is answered that can be a transaction of one statement, where the database has such.

    What it emits, counts and adds is written, and *change* made. With *held* only when that finds a row then, and *seen*,
    the number of the last commit that it knows of, is still the last one (None: the one before the statement).
    """

    value: Any
    held: tuple[str, Params] | None = None
    change: tuple[str, Params] | None = None
    seen: int | None = None


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

    def each(self, sql: str, params: Sequence[Params]) -> list[Row | None]:
        """Run an UPDATE of one row once for each of *params*, each of another row; return what each returned."""
        ...

    def add(self, sql: str, params: Sequence[Params]) -> list[bool]:
        """Run an INSERT of one row that passes over what is there (``ON CONFLICT (...) DO NOTHING``) once for each of
        *params*; tell for each whether it was new."""
        ...

    def begin(self, beside: bool = False) -> None:
        """Begin a transaction while no other writes; with *beside* some may, of those that begin so."""
        ...

    def seal(self, gathered: Gathered) -> None:
        """Write what was gathered, at the end of a transaction: it has one order among those of all nodes."""
        ...

    def commit(self) -> None:
        """End the transaction, when its seal has not: what it wrote is on disk."""
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
        found = self.rows(sql, params)
        return found[0] if found else None

    def value(self, sql: str, params: Params = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self.rows(sql, params)
        return found[0][0] if found else None

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand where."""
        return dict(zip(COUNTED, self.rows(_COUNTS)[0], strict=True))


class Transaction(Reader):
    """What an operation writes with. Events and counts are gathered and written at the end of the group, new rows
    before the next statement of another kind."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._events: list[Row] = []
        self.new = NewRows(driver)
        self._counts: dict[str, int] | None = None
        self._counted: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._announce = False
        self._now: tuple[datetime | None, int] = (None, 0)
        self.span: Span | None = None  # within which the present operation was asked: its events tell it

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement and return all rows."""
        self.new.write()
        return self._driver.rows(sql, params)

    def peek(self, sql: str, params: Params = ()) -> list[Row]:
        """Do what ``rows`` does, without what is offered."""
        self.new.write_waited_for()
        return self._driver.rows(sql, params)

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement that writes and return how many rows it changed."""
        self.new.write()
        return self._driver.execute(sql, params)

    def executemany(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement that writes once for each of *params*."""
        self.new.write()
        self._driver.executemany(sql, params)

    def each(self, sql: str, params: Sequence[Params]) -> list[Row | None]:
        """Run an UPDATE of one row once for each of *params*, each of another row; return what each returned. None of
        these rows is one that is offered."""
        self.new.write_waited_for()
        return self._driver.each(sql, params)

    def add(self, sql: str, params: Sequence[Params]) -> list[bool]:
        """Run an INSERT of one row that passes over what is there once for each of *params*; tell for each whether it was
        new."""
        self.new.write()
        return self._driver.add(sql, params)

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
            self._counts = dict(zip(COUNTED, self._driver.rows(_COUNTS, ())[0], strict=True))
        return {name: stored + self._counted[name] for name, stored in self._counts.items()}

    def count(self, **changes: int) -> None:
        """Add to the numbers of tasks: ``count(pending=-1, running=1)``."""
        for name, change in changes.items():
            self._counted[name] += change

    # for the database only

    def begin(self, beside: bool = False) -> None:
        """Begin a group of operations; with *beside* other nodes may write theirs at the same time."""
        self._forget()
        self._driver.begin(beside)

    def mark(self) -> tuple[int, int]:
        """Return something that differs after any write."""
        return self._driver.written() + len(self.new), len(self._events)  # new rows of others may be written by a look

    def gathered(self) -> Gathered:
        """Return what is to be written at the end of the group."""
        counted = self._counted if any(self._counted.values()) else None
        return Gathered(self.new.taken(), counted, self._events, self._announce or bool(self._events))

    def commit(self, gathered: Gathered) -> None:
        """End the group: *gathered* is written, and all of it on disk."""
        self._driver.seal(gathered)
        self._driver.commit()

    def rollback(self) -> None:
        """Undo the group."""
        self._forget()
        self._driver.rollback()

    def _forget(self) -> None:
        self._events.clear()
        self.new.clear()
        self._counts = None
        self._announce = False
        for name in COUNTED:
            self._counted[name] = 0


class Refusal(msgspec.Struct, frozen=True):
    """Returned by an operation whose caller gets *error* although what it wrote is kept: an event of the refusal."""

    error: Exception
