"""The only place that knows SQLite's driver: connections, and reading and writing through them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from shoal.store.sql.transaction import ADD_COUNTS, INSERT_EVENT, Gathered, Params, Row

__all__ = ["REFUSED", "Connection", "DriverError", "SqliteDriver", "connect", "leave_log_alone"]

Connection = apsw.Connection
DriverError = apsw.Error

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


class SqliteDriver:
    """``Driver`` on one connection. The transaction of a group takes the file's write lock at its begin."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._run = connection.cursor().execute
        self._run_many = connection.cursor().executemany

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement and return all rows."""
        return self._run(sql, params).fetchall()

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement that writes and return how many rows it changed."""
        self._run(sql, params)
        return self._connection.changes()

    def executemany(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement that writes once for each of *params*."""
        self._run_many(sql, params)

    def each(self, sql: str, params: Sequence[Params]) -> list[Row | None]:
        """Run an UPDATE of one row once for each of *params*; return what each returned."""
        run = self._run
        return [found[0] if (found := run(sql, each).fetchall()) else None for each in params]

    def add(self, sql: str, params: Sequence[Params]) -> list[bool]:
        """Run an INSERT that passes over what is there once for each of *params*; tell for each whether it was new."""
        return [self.execute(sql, each) > 0 for each in params]

    def begin(self, beside: bool = False) -> None:
        """Begin a transaction that writes; there is one at a time."""
        self._run("BEGIN IMMEDIATE")

    def seal(self, gathered: Gathered) -> None:
        """Write what was gathered. There is one writer at a time, so there is one order already."""
        for sql, params in gathered.new:
            self._run_many(sql, params)
        if gathered.counted is not None:
            self._run(ADD_COUNTS, gathered.counted)
        if gathered.events:
            self._run_many(INSERT_EVENT, gathered.events)

    def commit(self) -> None:
        """End the transaction."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def written(self) -> int:
        """Return how many rows this connection has changed since it was opened."""
        return self._connection.total_changes()
