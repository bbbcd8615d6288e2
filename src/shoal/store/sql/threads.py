"""Threads of conversations in SQL."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.merging import merged
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports.conversations import Thread, ThreadStats

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Row, Transaction

__all__ = ["SqlThreads"]

_COLUMNS = "id, user_id, agent_name, title, metadata, archived, parent_id, created_at, updated_at"
_CREATE = f"INSERT INTO threads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_GET = f"SELECT {_COLUMNS} FROM threads WHERE id = ?"
_UPDATE = "UPDATE threads SET title = ?, metadata = ?, archived = ?, updated_at = ? WHERE id = ?"
_DELETE = "DELETE FROM threads WHERE id = ?"
_DELETE_MESSAGES = "DELETE FROM messages WHERE thread_id = ?"
_PLACE = "SELECT seq FROM messages WHERE id = ? AND thread_id = ?"
_COPY = """INSERT INTO messages (id, thread_id, seq, role, content, agent_name, metadata, created_at, deleted_at)
    SELECT :new_id || '/' || seq, :new_id, seq, role, content, agent_name, metadata, created_at, NULL
    FROM messages WHERE thread_id = :thread_id AND deleted_at IS NULL AND (CAST(:last AS BIGINT) IS NULL OR seq <= :last)"""
_FIND = {
    asked: f"""SELECT {_COLUMNS} FROM threads WHERE {condition} AND archived <= :archived
        ORDER BY updated_at DESC, id DESC LIMIT :limit"""
    for asked, condition in {
        (True, False): "user_id = :user_id",
        (False, True): "agent_name = :agent_name",
        (True, True): "user_id = :user_id AND agent_name = :agent_name",
        (False, False): "TRUE",
    }.items()
}
# There is no full-text index: all threads and messages are read through.
_SEARCH = f"""SELECT {_COLUMNS} FROM threads
    WHERE lower(title) LIKE lower(:pattern) ESCAPE '\\' OR id IN (
        SELECT thread_id FROM messages WHERE lower(content) LIKE lower(:pattern) ESCAPE '\\' AND deleted_at IS NULL)
    ORDER BY updated_at DESC, id DESC LIMIT :limit"""
_STATS = """SELECT count(*), coalesce(sum(length(content)), 0), min(created_at), max(created_at)
    FROM messages WHERE thread_id = ? AND deleted_at IS NULL"""
_BY_ROLE = "SELECT role, count(*) FROM messages WHERE thread_id = ? AND deleted_at IS NULL GROUP BY role ORDER BY role"
_BY_AGENT = """SELECT agent_name, count(*) FROM messages
    WHERE thread_id = ? AND deleted_at IS NULL AND agent_name IS NOT NULL GROUP BY agent_name ORDER BY agent_name"""


class SqlThreads:
    """``Threads`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, thread: Thread) -> Awaitable[None]:
        """Make a thread."""
        encode(thread.metadata)
        return self._db.write(_create, thread)

    def update(
        self, thread_id: str, *, now: datetime, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Awaitable[Thread]:
        """Change the title, and merge *metadata*."""
        return self._db.write(_update, thread_id, now, title, metadata)

    def archive(self, thread_id: str, archived: bool, *, now: datetime) -> Awaitable[Thread]:
        """Put a thread aside, or take it back."""
        return self._db.write(_archive, thread_id, now, archived)

    def delete(self, thread_id: str) -> Awaitable[bool]:
        """Remove a thread with all of its messages; False when there was neither."""
        return self._db.write(_delete, thread_id)

    def fork(self, thread_id: str, new_id: str, *, now: datetime, at: str | None = None) -> Awaitable[Thread]:
        """Make a thread with the messages up to and including *at* that are not deleted."""
        return self._db.write(_fork, thread_id, new_id, now, at)

    def get(self, thread_id: str) -> Thread | None:
        """Return one thread."""
        return self._db.read(_get, thread_id)

    def find(
        self, *, user_id: str | None = None, agent_name: str | None = None, archived: bool = False, limit: int
    ) -> Sequence[Thread]:
        """Return threads of a user or an agent; those put aside only with *archived*."""
        given = {"user_id": user_id, "agent_name": agent_name}
        params = {name: value for name, value in given.items() if value is not None}
        sql = _FIND[user_id is not None, agent_name is not None]
        return self._db.read(_rows, sql, {**params, "archived": int(archived), "limit": limit})

    def search(self, text: str, limit: int) -> Sequence[Thread]:
        """Return threads with *text* in the title or in a message."""
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return self._db.read(_rows, _SEARCH, {"pattern": f"%{escaped}%", "limit": limit})

    def stats(self, thread_id: str) -> ThreadStats:
        """Return a thread's messages in numbers."""
        return self._db.read(_stats, thread_id)


def _create(cx: Transaction, thread: Thread) -> None:
    metadata = encode(thread.metadata).decode() if thread.metadata else None
    cx.execute(
        _CREATE,
        (
            thread.id, thread.user_id, thread.agent_name, thread.title, metadata, int(thread.archived),
            thread.parent_id, epoch(thread.created_at), epoch(thread.updated_at),
        ),
    )  # fmt: skip


def _get(cx: Reader, thread_id: str) -> Thread | None:
    row = cx.one(_GET, (thread_id,))
    return None if row is None else _thread(row)


def _known(cx: Reader, thread_id: str) -> Thread:
    thread = _get(cx, thread_id)
    if thread is None:
        raise LookupError(f"there is no thread {thread_id!r:.200}")
    return thread


def _write(cx: Transaction, thread: Thread, now: datetime) -> Thread:
    metadata = encode(thread.metadata).decode() if thread.metadata else None
    cx.execute(_UPDATE, (thread.title, metadata, int(thread.archived), epoch(now), thread.id))
    return _known(cx, thread.id)


def _update(
    cx: Transaction, thread_id: str, now: datetime, title: str | None, metadata: Mapping[str, Any] | None
) -> Thread:
    thread = _known(cx, thread_id)
    return _write(cx, _changed(thread, title=title, metadata=merged(thread.metadata, metadata or {})), now)


def _archive(cx: Transaction, thread_id: str, now: datetime, archived: bool) -> Thread:
    return _write(cx, _changed(_known(cx, thread_id), archived=archived), now)


def _changed(thread: Thread, **fields: Any) -> Thread:
    given = {name: value for name, value in fields.items() if value is not None}
    return Thread(**{name: getattr(thread, name) for name in thread.__struct_fields__} | given)


def _delete(cx: Transaction, thread_id: str) -> bool:
    messages = cx.execute(_DELETE_MESSAGES, (thread_id,))
    return cx.execute(_DELETE, (thread_id,)) + messages > 0


def _fork(cx: Transaction, thread_id: str, new_id: str, now: datetime, at: str | None) -> Thread:
    thread = _known(cx, thread_id)
    last = None
    if at is not None:
        last = cx.value(_PLACE, (at, thread_id))
        if last is None:
            raise LookupError(f"there is no message {at!r:.200} in thread {thread_id!r:.200}")
    forked = _changed(thread, id=new_id, parent_id=thread_id, archived=False, created_at=now, updated_at=now)
    _create(cx, forked)
    cx.execute(_COPY, {"new_id": new_id, "thread_id": thread_id, "last": last})
    return _known(cx, new_id)


def _rows(cx: Reader, sql: str, params: dict[str, Any]) -> list[Thread]:
    return [_thread(row) for row in cx.rows(sql, params)]


def _stats(cx: Reader, thread_id: str) -> ThreadStats:
    ((messages, characters, first, last),) = cx.rows(_STATS, (thread_id,))
    if not messages:
        _known(cx, thread_id)
    return ThreadStats(
        messages=messages,
        characters=characters,
        by_role=dict(cx.rows(_BY_ROLE, (thread_id,))),
        by_agent=dict(cx.rows(_BY_AGENT, (thread_id,))),
        first_at=None if first is None else from_epoch(first),
        last_at=None if last is None else from_epoch(last),
    )


def _thread(row: Row) -> Thread:
    thread_id, user_id, agent_name, title, metadata, archived, parent_id, created_at, updated_at = row
    return Thread(
        id=thread_id,
        user_id=user_id,
        agent_name=agent_name,
        title=title,
        metadata=decode(metadata) if metadata else {},
        archived=bool(archived),
        parent_id=parent_id,
        created_at=from_epoch(created_at),
        updated_at=from_epoch(updated_at),
    )
