"""The only place that knows the driver: connections, and reading and writing through them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec

from shoal.kernel.clock import epoch
from shoal.kernel.event import SEVERITY, Fact, Severity
from shoal.kernel.payload import encode

__all__ = ["REFUSED", "Connection", "DriverError", "Reader", "Refusal", "Transaction", "connect", "leave_log_alone"]

Row = tuple[Any, ...]
Connection = apsw.Connection
DriverError = apsw.Error

_INSERT_EVENT = """INSERT INTO events (timestamp, event_type, severity, agent_id, task_id, run_id, node_id, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_ADD_COUNTS = """UPDATE task_counts SET pending = pending + :pending, ready = ready + :ready,
    running = running + :running, completed = completed + :completed, failed = failed + :failed,
    cancelled = cancelled + :cancelled"""
_COUNTS = "SELECT pending, ready, running, completed, failed, cancelled FROM task_counts"
_COUNTED: tuple[str, ...] = ("pending", "ready", "running", "completed", "failed", "cancelled")
# What the machine refuses, not what an operation did wrong: the next operation would be refused as well.
REFUSED = (
    apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.BusyError, apsw.LockedError,
    apsw.CorruptError, apsw.NotADBError, apsw.NoMemError, apsw.PermissionsError, apsw.ProtocolError,
)  # fmt: skip


def connect(path: Path, *, durability: str | None = None, create: bool = False) -> Connection:
    """Open a connection: one that writes with that *durability*, or one that can only read."""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=256)
    connection.set_busy_timeout(10_000)
    # Else SQLite plans a statement anew for each value that is compared with the condition of a partial index.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if durability is None:
        connection.execute("PRAGMA query_only = 1; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY")
        return connection
    if create:
        connection.execute("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL")
    synchronous = "FULL" if durability == "full" else "NORMAL"
    connection.execute(
        f"PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;"
        "PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864"
    )
    return connection


def leave_log_alone(connection: Connection) -> None:
    """Let the file stay as it is when *connection* is closed."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


class Reader:
    """Reads in one consistent view. SQL texts must be constant, so that they are prepared once."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._run = connection.cursor().execute

    def rows(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Return all rows."""
        return self._run(sql, params).fetchall()

    def one(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> Row | None:
        """Return the first row, or None."""
        found = self._run(sql, params).fetchall()
        return found[0] if found else None

    def value(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self._run(sql, params).fetchall()
        return found[0][0] if found else None

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand where."""
        return dict(zip(_COUNTED, self.rows(_COUNTS)[0], strict=True))


class Transaction(Reader):
    """What an operation writes with. Events and counts are gathered and written at the end of the group."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self._run_many = connection.cursor().executemany
        self._events: list[Row] = []
        self._counts: dict[str, int] | None = None
        self._counted: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self._announce = False
        self._now: tuple[datetime | None, int] = (None, 0)

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run a statement that writes and return how many rows it changed."""
        self._run(sql, params)
        return self._connection.changes()

    def executemany(self, sql: str, params: Sequence[Sequence[Any]]) -> None:
        """Run a statement that writes once for each of *params*."""
        self._run_many(sql, params)

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
                fact.node_id, encode(fact.details).decode() if fact.details else None,
            )
        )  # fmt: skip

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
        self._forget()
        self._run("BEGIN IMMEDIATE")

    def mark(self) -> tuple[int, int]:
        """Return something that differs after any write."""
        return self._connection.total_changes(), len(self._events)

    def flush(self) -> bool:
        """Write what was gathered; tell whether somebody wants to hear of this commit."""
        announce = self._announce or bool(self._events)
        if self._events:
            self._run_many(_INSERT_EVENT, self._events)
        if any(self._counted.values()):
            self._run(_ADD_COUNTS, self._counted)
        return announce

    def commit(self) -> None:
        self._run("COMMIT")

    def rollback(self) -> None:
        self._forget()
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def _forget(self) -> None:
        self._events.clear()
        self._counts = None
        self._announce = False
        for name in _COUNTED:
            self._counted[name] = 0


class Refusal(msgspec.Struct, frozen=True):
    """Returned by an operation whose caller gets *error* although what it wrote is kept: an event of the refusal."""

    error: Exception
