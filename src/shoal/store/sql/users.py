"""What is known of users."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.kernel.clock import epoch
from shoal.kernel.merging import merged
from shoal.kernel.payload import decode, encode

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlUserContexts"]

_GET = "SELECT value FROM user_contexts WHERE user_id = ?"
_SET = """INSERT INTO user_contexts (user_id, value, updated_at) VALUES (?, ?, ?)
    ON CONFLICT (user_id) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at"""
_DELETE = "DELETE FROM user_contexts WHERE user_id = ?"
_USERS = "SELECT user_id FROM user_contexts ORDER BY user_id"


class SqlUserContexts:
    """``UserContexts`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def set(self, user_id: str, value: Mapping[str, Any], *, now: datetime) -> Awaitable[None]:
        """Replace all that is known."""
        return self._db.write(_set, user_id, encode(value).decode(), epoch(now))

    def update(self, user_id: str, changes: Mapping[str, Any], *, now: datetime) -> Awaitable[dict[str, Any]]:
        """Merge *changes* and return the whole."""
        return self._db.write(_update, user_id, changes, epoch(now))

    def delete(self, user_id: str) -> Awaitable[bool]:
        """Forget a user; False when nothing was known."""
        return self._db.write(_delete, user_id)

    def get(self, user_id: str) -> dict[str, Any]:
        """Return what is known; an empty dict when nothing is."""
        return self._db.read(_get, user_id)

    def users(self) -> Sequence[str]:
        """Return the ids of all users of whom something was stored, sorted."""
        return self._db.read(_users)


def _set(cx: Transaction, user_id: str, value: str, now: int) -> None:
    cx.execute(_SET, (user_id, value, now))


def _update(cx: Transaction, user_id: str, changes: Mapping[str, Any], now: int) -> dict[str, Any]:
    raw = encode(merged(_get(cx, user_id), changes)).decode()
    cx.execute(_SET, (user_id, raw, now))
    whole: dict[str, Any] = decode(raw)
    return whole


def _delete(cx: Transaction, user_id: str) -> bool:
    return cx.execute(_DELETE, (user_id,)) > 0


def _get(cx: Reader, user_id: str) -> dict[str, Any]:
    raw = cx.value(_GET, (user_id,))
    found: dict[str, Any] = decode(raw) if raw else {}
    return found


def _users(cx: Reader) -> list[str]:
    return [user_id for (user_id,) in cx.rows(_USERS)]
