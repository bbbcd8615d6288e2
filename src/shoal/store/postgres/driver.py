"""Reading and writing over one connection, in PostgreSQL's words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shoal.store.postgres.connection import Link
from shoal.store.postgres.dialect import (
    prepared,
    prepared_each,
    prepared_many,
    prepared_new,
    prepared_rows,
    readable,
)
from shoal.store.postgres.sealing import Mark, few, sealing, sealing_alone
from shoal.store.sql.transaction import Gathered, Params, Row

__all__ = ["PostgresDriver"]


class PostgresDriver:
    """``Driver`` on one connection. A transaction beside others begins with its first statement, or is its seal alone.

    Args:
        link: the connection.
        key: the lock that all nodes on one schema take turns with.
        mark: the writer, and the number of the group that it writes now.
    """

    def __init__(self, link: Link, key: int = 0, mark: Mark = ("", 0)) -> None:
        self._link = link
        self._key = key
        self._mark = mark
        self._changed = 0
        self._before = 0  # the transaction
        self._beside = False
        self._to_begin = False
        self.number = 0  # of the commit that was sealed
        self.sealed = False  # it may have been committed: its mark tells

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement and return all rows."""
        self._start()
        text, values = prepared(sql, params)
        found = self._link.wait(self._link.connection.fetch(text, *values))
        if found and not sql.startswith(("SELECT", "WITH")):
            self._changed += len(found)
        return list(map(readable, found))

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement that writes and return how many rows it changed."""
        self._start()
        text, values = prepared(sql, params)
        status = self._link.wait(self._link.connection.execute(text, *values))
        changed = int(status.rpartition(" ")[2])
        self._changed += changed
        return changed

    def executemany(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement that writes once for each of *params*."""
        if not params:
            return
        self._start()
        if (one := prepared_rows(sql, params)) is not None:
            self._link.wait(self._link.connection.execute(one[0], *one[1]))
        else:
            text, rows = prepared_many(sql, params)
            self._link.wait(self._link.connection.executemany(text, rows))
        self._changed += len(params)

    def each(self, sql: str, params: Sequence[Params]) -> list[Row | None]:
        """Run an UPDATE of one row once for each of *params*, all at once; return what each returned."""
        if len(params) < 2:
            return [rows[0] if (rows := self.rows(sql, given)) else None for given in params]
        self._start()
        text, columns = prepared_each(sql, params)
        found: list[Row | None] = [None] * len(params)
        changed = self._link.wait(self._link.connection.fetch(text, *columns))
        for *row, place in changed:
            found[place - 1] = readable(row)
        self._changed += len(changed)
        return found

    def add(self, sql: str, params: Sequence[Params]) -> list[bool]:
        """Run an INSERT that passes over what is there for all of *params* at once; tell for each whether it was new."""
        if len(params) < 2:
            return [self.execute(sql, given) > 0 for given in params]
        self._start()
        text, columns, keys = prepared_new(sql, params)
        added = set(map(readable, self._link.wait(self._link.connection.fetch(text, *columns))))
        self._changed += len(added)
        new = []
        for key in keys:
            new.append(key in added)
            added.discard(key)  # what comes twice is new once
        return new

    def script(self, text: str) -> str:
        """Run statements without parameters."""
        return str(self._link.wait(self._link.connection.execute(text)))

    def begin(self, beside: bool = False) -> None:
        """Begin a transaction, when no other node is in one; with *beside*, when none is in one without."""
        self._before = self._changed
        self._beside = self._to_begin = beside
        if not beside:
            self.script(f"BEGIN; SELECT pg_advisory_xact_lock({self._key})")

    def _start(self) -> None:
        if self._to_begin:
            self._to_begin = False
            self.script(f"BEGIN; SELECT pg_advisory_xact_lock_shared({self._key})")

    def seal(self, gathered: Gathered) -> None:
        """Write what was gathered, give the commit its number among those of all nodes, and leave its mark."""
        if not (gathered.announce or gathered.counted or gathered.new) and self._changed == self._before:
            return  # it has changed nothing, so that its commit need not wait for the disk
        if self._to_begin and gathered.announce and few(gathered.new) and self.seal_alone(gathered):
            return
        if not few(gathered.new):
            for insert, rows in gathered.new:
                self.executemany(insert, rows)
            gathered = msgspec.structs.replace(gathered, new=())
        self._start()
        sql, values = sealing(gathered, self._mark, beside=self._beside)
        ((self.number,),) = self._link.wait(self._link.connection.fetch(sql, *values))
        self.sealed = True

    def seal_alone(self, gathered: Gathered) -> bool:
        """Write, number and commit in one statement; False when it cannot be, since somebody is in a transaction that is
        not beside others: then nothing was written."""
        self.sealed = True
        sql, values = sealing_alone(gathered, self._mark, self._key)
        found = self._link.wait(self._link.connection.fetch(sql, *values))
        self.sealed = bool(found)
        if found:
            ((self.number,),) = found
        return self.sealed

    def commit(self) -> None:
        """End the transaction, when it has begun."""
        if self._to_begin:
            self._to_begin = False
        else:
            self.script("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        self._to_begin = False
        if self._link.alive and self._link.connection.is_in_transaction():
            self.script("ROLLBACK")

    def written(self) -> int:
        """Return how many rows this connection has changed since it was opened."""
        return self._changed
