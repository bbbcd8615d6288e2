"""Conversations: the three nouns, and messages."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.merging import merged
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports.conversations import Messages, NewMessage, StoredMessage, Threads, UserContexts
from shoal.store.sql.threads import SqlThreads
from shoal.store.sql.users import SqlUserContexts

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Row, Transaction

__all__ = ["SqlConversations", "SqlMessages"]

_COLUMNS = "id, thread_id, seq, role, content, agent_name, metadata, created_at, deleted_at"
_GET = f"SELECT {_COLUMNS} FROM messages WHERE id = ?"
_ADD = f"""INSERT INTO messages ({_COLUMNS})
    VALUES (?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM messages WHERE thread_id = ?), ?, ?, ?, ?, ?, NULL)
    RETURNING seq"""
_TOUCH = "UPDATE threads SET updated_at = :now WHERE id = :id AND updated_at < :now"
_DELETE = "UPDATE messages SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL"
_SET_METADATA = "UPDATE messages SET metadata = ? WHERE id = ?"
_PLACE = "SELECT seq FROM messages WHERE id = ? AND thread_id = ?"
_FORWARD = f"""SELECT {_COLUMNS} FROM messages WHERE thread_id = ? AND seq > ? AND seq < ? AND deleted_at IS NULL
    ORDER BY seq LIMIT ?"""
_BACKWARD = f"""SELECT {_COLUMNS} FROM messages WHERE thread_id = ? AND seq < ? AND deleted_at IS NULL
    ORDER BY seq DESC LIMIT ?"""
_BY_CHARS = """SELECT min(seq) FROM (
    SELECT seq, sum(length(content)) OVER (ORDER BY seq DESC ROWS UNBOUNDED PRECEDING) AS chars
    FROM messages WHERE thread_id = ? AND deleted_at IS NULL) WHERE chars <= ?"""
_KEPT_FROM = """SELECT seq FROM messages WHERE thread_id = ? AND deleted_at IS NULL
    ORDER BY seq DESC LIMIT 1 OFFSET ?"""
_COUNT = "SELECT count(*) FROM messages WHERE thread_id = ? AND deleted_at IS NULL"
_END = 2**62  # above every seq, and every number of messages


class SqlConversations:
    """``Conversations`` in SQL."""

    def __init__(self, db: Database) -> None:
        self.messages: Messages = SqlMessages(db)
        self.threads: Threads = SqlThreads(db)
        self.users: UserContexts = SqlUserContexts(db)


class SqlMessages:
    """``Messages`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, message: NewMessage, *, now: datetime) -> Awaitable[StoredMessage]:
        """Put a message at the end of its thread."""
        metadata = encode(message.metadata).decode() if message.metadata else None
        return self._db.write(_add, message, metadata, now)

    def delete(self, message_id: str, *, now: datetime) -> Awaitable[bool]:
        """Mark a message as deleted; False when there is none, or it is deleted already."""
        return self._db.write(_delete, message_id, epoch(now))

    def update_metadata(self, message_id: str, changes: Mapping[str, Any]) -> Awaitable[StoredMessage]:
        """Merge *changes* into its metadata. Raises LookupError."""
        return self._db.write(_update_metadata, message_id, changes)

    def get(self, message_id: str) -> StoredMessage | None:
        """Return one message, deleted or not."""
        return self._db.read(_get, message_id)

    def page(
        self, thread_id: str, *, limit: int, before: str | None = None, after: str | None = None
    ) -> Sequence[StoredMessage]:
        """Return up to *limit* messages in order: the first ones after *after*, or the last ones before *before*."""
        return self._db.read(_page, thread_id, limit, before, after)

    def recent(self, thread_id: str, limit: int) -> Sequence[StoredMessage]:
        """Return the newest *limit*, oldest first."""
        return self._db.read(_backward, thread_id, _END, limit)

    def recent_by_chars(self, thread_id: str, max_chars: int) -> Sequence[StoredMessage]:
        """Return as many of the newest as have *max_chars* characters together, oldest first."""
        return self._db.read(_by_chars, thread_id, max_chars)

    def unsummarized(self, thread_id: str, after: str | None, keep_recent: int) -> Sequence[StoredMessage]:
        """Return what comes after the message *after*, but for the newest *keep_recent* of the thread."""
        return self._db.read(_unsummarized, thread_id, after, keep_recent)

    def count(self, thread_id: str) -> int:
        """Return how many there are."""
        return int(self._db.read(_count, thread_id))


def _add(cx: Transaction, message: NewMessage, metadata: str | None, now: datetime) -> StoredMessage:
    micros = epoch(now)
    seq = cx.value(
        _ADD,
        (
            message.id, message.thread_id, message.thread_id, message.role, message.content, message.agent_name,
            metadata, micros,
        ),
    )  # fmt: skip
    cx.execute(_TOUCH, {"now": micros, "id": message.thread_id})
    return StoredMessage(
        id=message.id,
        thread_id=message.thread_id,
        seq=seq,
        role=message.role,
        content=message.content,
        agent_name=message.agent_name,
        metadata=decode(metadata) if metadata else {},
        created_at=from_epoch(micros),
    )


def _delete(cx: Transaction, message_id: str, now: int) -> bool:
    return cx.execute(_DELETE, (now, message_id)) > 0


def _update_metadata(cx: Transaction, message_id: str, changes: Mapping[str, Any]) -> StoredMessage:
    found = _get(cx, message_id)
    if found is None:
        raise LookupError(f"there is no message {message_id!r:.200}")
    cx.execute(_SET_METADATA, (encode(merged(found.metadata, changes)).decode(), message_id))
    changed = _get(cx, message_id)
    assert changed is not None
    return changed


def _get(cx: Reader, message_id: str) -> StoredMessage | None:
    row = cx.one(_GET, (message_id,))
    return None if row is None else _message(row)


def _place(cx: Reader, thread_id: str, message_id: str | None, otherwise: int) -> int:
    """Return the seq of a message."""
    if message_id is None:
        return otherwise
    seq = cx.value(_PLACE, (message_id, thread_id))
    if seq is None:
        raise LookupError(f"there is no message {message_id!r:.200} in thread {thread_id!r:.200}")
    return int(seq)


def _page(cx: Reader, thread_id: str, limit: int, before: str | None, after: str | None) -> list[StoredMessage]:
    end = _place(cx, thread_id, before, _END)
    if before is not None and after is None:
        return _backward(cx, thread_id, end, limit)
    return _forward(cx, thread_id, _place(cx, thread_id, after, 0), end, limit)


def _forward(cx: Reader, thread_id: str, after: int, before: int, limit: int) -> list[StoredMessage]:
    return [_message(row) for row in cx.rows(_FORWARD, (thread_id, after, before, limit))]


def _backward(cx: Reader, thread_id: str, before: int, limit: int) -> list[StoredMessage]:
    rows = cx.rows(_BACKWARD, (thread_id, before, limit))
    return [_message(row) for row in reversed(rows)]


def _by_chars(cx: Reader, thread_id: str, max_chars: int) -> list[StoredMessage]:
    first = cx.value(_BY_CHARS, (thread_id, max_chars))
    return [] if first is None else _forward(cx, thread_id, first - 1, _END, _END)


def _unsummarized(cx: Reader, thread_id: str, after: str | None, keep_recent: int) -> list[StoredMessage]:
    begin = _place(cx, thread_id, after, 0)
    end = _END if keep_recent == 0 else cx.value(_KEPT_FROM, (thread_id, keep_recent - 1))
    return [] if end is None else _forward(cx, thread_id, begin, end, _END)


def _count(cx: Reader, thread_id: str) -> int:
    return int(cx.value(_COUNT, (thread_id,)))


def _message(row: Row) -> StoredMessage:
    message_id, thread_id, seq, role, content, agent_name, metadata, created_at, deleted_at = row
    return StoredMessage(
        id=message_id,
        thread_id=thread_id,
        seq=seq,
        role=role,
        content=content,
        agent_name=agent_name,
        metadata=decode(metadata) if metadata else {},
        created_at=from_epoch(created_at),
        deleted_at=None if deleted_at is None else from_epoch(deleted_at),
    )
