"""Small shared values with versions."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import VersionConflictError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import SharedValue
from shoal.store.sql.records import check_not_lost

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlKV", "prune_kv"]

_THERE = "value IS NOT NULL AND (expires_at IS NULL OR expires_at > :now)"
_COLUMNS = "key, value, version, updated_at, updated_by"
_NEXT_CHANGE = "(SELECT coalesce(max(change), 0) + 1 FROM kv)"
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class _Write(msgspec.Struct, frozen=True):
    key: str
    value: str
    now: int
    by: str | None
    expires_at: int | None
    expected: int | None
    node_id: str | None


class SqlKV:
    """``kernel.ports.KV`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def set(
        self,
        key: str,
        value: object,
        *,
        now: datetime,
        by: str | None = None,
        expires_at: datetime | None = None,
        expected: int | None = None,
        node_id: str | None = None,
    ) -> Awaitable[int]:
        """Store a value and return its version; see ``KV.set``."""
        ends = None if expires_at is None else epoch(expires_at)
        return self._db.write(_set, _Write(key, encode(value).decode(), epoch(now), by, ends, expected, node_id))

    def delete(
        self, key: str, *, now: datetime, expected: int | None = None, node_id: str | None = None
    ) -> Awaitable[bool]:
        """Remove a key; False when there was none. Raises VersionConflictError and LeaseLostError as ``set``."""
        return self._db.write(_delete, key, epoch(now), expected, node_id)

    def get(self, key: str, *, now: datetime) -> SharedValue | None:
        """Return the entry, or None when it is not there or expired."""
        return self._db.read(_get, key, epoch(now))

    def keys(self, prefix: str, *, now: datetime) -> Sequence[str]:
        """Return the keys that begin with *prefix*, sorted."""
        return self._db.read(_keys, prefix, epoch(now))

    def changes(self, prefix: str, after: int) -> tuple[list[SharedValue], int]:
        """Return the newest of each key changed (or deleted) since change number *after*, and the newest number."""
        return self._db.read(_changes, prefix, after)


def prune_kv(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove up to *limit* keys that were deleted or expired before *before*; return how many.

    An expired one becomes a deleted one first, so that those who watch hear of it, and goes with a later call. The
    newest change of all stays, so that its number is never given again.
    """
    values = {"before": epoch(before), "limit": limit}
    gone = cx.execute(
        """DELETE FROM kv WHERE key IN (
            SELECT key FROM kv INDEXED BY kv_deleted WHERE value IS NULL AND updated_at < :before
            AND change < (SELECT max(change) FROM kv) LIMIT :limit)""",
        values,
    )
    expired = cx.rows("SELECT key, expires_at FROM kv WHERE expires_at < :before LIMIT :limit", values)
    for key, ended in expired:
        _bury(cx, key, ended)
    return gone


def _version(cx: Reader, key: str, now: int) -> int:
    """Return the version of what is there, 0 when nothing is."""
    return cx.value(f"SELECT version FROM kv WHERE key = :key AND {_THERE}", {"key": key, "now": now}) or 0


def _set(cx: Transaction, write: _Write) -> int:
    check_not_lost(cx, write.node_id)
    version = _version(cx, write.key, write.now)
    if write.expected is not None and write.expected != version:
        raise VersionConflictError(write.key, write.expected, version)
    cx.execute(
        f"""INSERT INTO kv (key, value, version, updated_at, updated_by, expires_at, change)
            VALUES (:key, :value, :version, :now, :by, :expires_at, {_NEXT_CHANGE})
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
                updated_at = excluded.updated_at, updated_by = excluded.updated_by,
                expires_at = excluded.expires_at, change = excluded.change""",
        {
            "key": write.key,
            "value": write.value,
            "version": version + 1,
            "now": write.now,
            "by": write.by,
            "expires_at": write.expires_at,
        },
    )
    cx.announce()
    return version + 1


def _delete(cx: Transaction, key: str, now: int, expected: int | None, node_id: str | None) -> bool:
    check_not_lost(cx, node_id)
    version = _version(cx, key, now)
    if expected is not None and expected != version:
        raise VersionConflictError(key, expected, version)
    if version == 0:
        return False
    _bury(cx, key, now)
    cx.announce()
    return True


def _bury(cx: Transaction, key: str, at: int) -> None:
    """Leave of a key what those who watch need to hear."""
    cx.execute(
        f"""UPDATE kv SET value = NULL, updated_at = ?, updated_by = NULL, expires_at = NULL, change = {_NEXT_CHANGE}
            WHERE key = ?""",
        (at, key),
    )


def _get(cx: Reader, key: str, now: int) -> SharedValue | None:
    row = cx.one(f"SELECT {_COLUMNS} FROM kv WHERE key = :key AND {_THERE}", {"key": key, "now": now})
    return None if row is None else _entry(row)


def _keys(cx: Reader, prefix: str, now: int) -> list[str]:
    rows = cx.rows(
        f"SELECT key FROM kv WHERE key >= :prefix AND (CAST(:end AS TEXT) IS NULL OR key < :end) AND {_THERE} ORDER BY key",
        {"prefix": prefix, "end": _behind(prefix), "now": now},
    )
    return [key for (key,) in rows]


def _changes(cx: Reader, prefix: str, after: int) -> tuple[list[SharedValue], int]:
    newest = cx.value("SELECT max(change) FROM kv") or 0
    if newest <= after:
        return [], newest
    rows = cx.rows(
        f"""SELECT {_COLUMNS} FROM kv
            WHERE change > :after AND key || '' >= :prefix AND (CAST(:end AS TEXT) IS NULL OR key || '' < :end)
            ORDER BY change""",
        {"after": after, "prefix": prefix, "end": _behind(prefix)},
    )
    return [_entry(row) for row in rows], newest


def _behind(prefix: str) -> str | None:
    """Return the first text that sorts behind all that begin with *prefix*; None when there is none."""
    head = prefix.rstrip(chr(_LAST_CHARACTER))
    if not head:
        return None
    following = ord(head[-1]) + 1
    if following in _SURROGATES:  # not text that can be stored
        following = _SURROGATES.stop
    return head[:-1] + chr(following)


def _entry(row: tuple[Any, ...]) -> SharedValue:
    key, value, version, updated_at, updated_by = row
    return SharedValue(
        key=key,
        value=None if value is None else decode(value),
        version=version,
        updated_at=from_epoch(updated_at),
        updated_by=updated_by,
        deleted=value is None,
    )
