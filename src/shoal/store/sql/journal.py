"""Steps: effects that are done once and replayed afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any

from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import Fence, Step
from shoal.store.sql.database import Database
from shoal.store.sql.operations import Operation
from shoal.store.sql.tasks import check_fence, check_fences
from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlJournal", "record", "record_many"]

_RECORD = """INSERT INTO steps (scope, key, value, digest, at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (scope, key) DO NOTHING"""
_PROVEN = """UPDATE tasks SET deaths = 0, interruptions = 0
    WHERE task_id IN (SELECT value FROM json_each(?)) AND (deaths > 0 OR interruptions > 0)"""
_LOAD = "SELECT key, value, digest, at FROM steps WHERE scope = ? ORDER BY seq"
_GET = "SELECT key, value, digest, at FROM steps WHERE scope = ? AND key = ?"


class SqlJournal:
    """``Journal`` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record(
        self,
        scope: str,
        key: str,
        value: object,
        *,
        now: datetime,
        digest: str | None = None,
        fence: Fence | None = None,
    ) -> Awaitable[None]:
        """Keep a step's result; a key that is recorded already keeps its first value."""
        row = (scope, key, encode(value).decode(), digest, epoch(now))
        return self._db.write(record, row, fence)

    def load(self, scope: str) -> dict[str, Step]:
        """Return all steps of the scope, in order of recording."""
        return {row[0]: _step(row) for row in self._db.read(Reader.rows, _LOAD, (scope,))}

    def get(self, scope: str, key: str) -> Step | None:
        """Return one step, or None."""
        row = self._db.read(Reader.one, _GET, (scope, key))
        return None if row is None else _step(row)


def record(cx: Transaction, row: tuple[Any, ...], fence: Fence | None) -> None:
    """Keep a step's result, unless its key has one."""
    if fence is not None:
        check_fence(cx, fence)
    if cx.execute(_RECORD, row) and fence is not None:
        cx.execute(_PROVEN, (encode([fence.task_id]).decode(),))


def record_many(cx: Transaction, operations: Sequence[Operation[None]]) -> list[None]:
    """Do what ``record`` does, for many at once."""
    check_fences(cx, {fence for operation in operations if (fence := operation.args[1]) is not None})
    new = cx.add(_RECORD, [operation.args[0] for operation in operations])
    proven = {
        op.args[1].task_id for op, is_new in zip(operations, new, strict=True) if is_new and op.args[1] is not None
    }
    if proven:
        cx.execute(_PROVEN, (encode(sorted(proven)).decode(),))
    return [None] * len(operations)


def _step(row: tuple[Any, ...]) -> Step:
    key, value, digest, at = row
    return Step(key=key, value=decode(value), digest=digest, at=from_epoch(at))
