"""Messages of conversations, kept in a store."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shoal.kernel.ports import Messages, NewMessage, StoredMessage
from shoal.llm.arguments import amount, json_object, text
from shoal.llm.connections import Connection, check_connection, clock_of, store_of
from shoal.llm.locks import LockManager

__all__ = ["MessageStore", "ThreadSafeMessageStore"]


class MessageStore:
    """The messages of threads: each call is one transaction. A thread need not be made before its first message.

    Deleted messages stay in the store, with ``deleted_at``; all but ``get`` leave them out.

    Args:
        conn: an ``AgentRuntime``, or a store from ``await shoal.open_store(url)``.

    Raises:
        TypeError: *conn* is neither. Calls raise RuntimeNotStartedError or StoreError when it is not open.
    """

    def __init__(self, conn: Connection) -> None:
        check_connection(conn)
        self._conn = conn

    @property
    def conn(self) -> Connection:
        """What it was made with."""
        return self._conn

    @property
    def _messages(self) -> Messages:
        return store_of(self._conn).conversations.messages

    async def add(
        self,
        thread_id: str,
        role: str,
        content: str,
        *,
        agent_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StoredMessage:
        """Put a message at the end of a thread and return it; then it is on disk.

        Args:
            thread_id: 1 to 500 characters.
            role: for example ``user`` or ``assistant``.
            content: the text.
            agent_name: who said it.
            metadata: a JSON object.

        Raises:
            ValueError, TypeError, PayloadError: an argument is wrong; nothing was stored.
        """
        message = NewMessage(
            id=clock_of(self._conn).new_id(),
            thread_id=text(thread_id, "thread_id"),
            role=text(role, "role"),
            content=text(content, "content", least=0, most=None),
            agent_name=None if agent_name is None else text(agent_name, "agent_name"),
            metadata=json_object(metadata or {}, "metadata"),
        )
        return await self._messages.add(message, now=clock_of(self._conn).now())

    create = add

    async def get(self, id: str) -> StoredMessage | None:
        """Return one message, deleted or not; None when there is none."""
        return self._messages.get(text(id, "id"))

    async def list(
        self, thread_id: str, limit: int = 100, before: str | None = None, after: str | None = None
    ) -> builtins.list[StoredMessage]:
        """Return up to *limit* messages in order: from the beginning, after the message *after*, or the last ones before
        the message *before*. Raises LookupError when such a message is not in the thread."""
        return [
            *self._messages.page(text(thread_id, "thread_id"), limit=amount(limit, "limit"), before=before, after=after)
        ]

    async def count(self, thread_id: str) -> int:
        """Return how many messages a thread has."""
        return self._messages.count(text(thread_id, "thread_id"))

    async def delete(self, id: str) -> bool:
        """Delete a message: it stays, with ``deleted_at``. False when there is none, or it is deleted already."""
        return await self._messages.delete(text(id, "id"), now=clock_of(self._conn).now())

    async def update_metadata(self, id: str, changes: Mapping[str, Any]) -> StoredMessage:
        """Merge *changes* into a message's metadata: dicts merge, lists replace, None removes. Raises LookupError."""
        return await self._messages.update_metadata(text(id, "id"), json_object(changes, "changes"))

    async def get_recent(self, thread_id: str, limit: int = 50) -> builtins.list[StoredMessage]:
        """Return the newest *limit* messages, oldest first."""
        return [*self._messages.recent(text(thread_id, "thread_id"), amount(limit, "limit"))]

    async def get_recent_by_chars(self, thread_id: str, max_chars: int = 32_000) -> builtins.list[StoredMessage]:
        """Return as many of the newest messages as have *max_chars* characters together, oldest first."""
        return [*self._messages.recent_by_chars(text(thread_id, "thread_id"), amount(max_chars, "max_chars"))]

    async def get_unsummarized(
        self, thread_id: str, after_msg_id: str | None = None, keep_recent: int = 10
    ) -> builtins.list[StoredMessage]:
        """Return what no summary up to *after_msg_id* holds yet, but for the newest *keep_recent* of the thread."""
        kept = amount(keep_recent, "keep_recent")
        return [*self._messages.unsummarized(text(thread_id, "thread_id"), after_msg_id, kept)]


class ThreadSafeMessageStore(MessageStore):
    """A ``MessageStore`` for several agents that write to one thread.

    Each call is a transaction already. ``async with store.thread(thread_id)`` makes several calls one: meanwhile nobody
    else who uses a ThreadSafeMessageStore on that store writes to the thread, in any process.

    Args:
        conn: an ``AgentRuntime``, or a store from ``await shoal.open_store(url)``.
        lock_timeout: seconds to wait for a thread; None: for ever. Then LockTimeoutError.
    """

    def __init__(self, conn: Connection, lock_timeout: float | None = 30.0) -> None:
        super().__init__(conn)
        self._timeout = lock_timeout
        self._locks: LockManager | None = None

    @asynccontextmanager
    async def thread(self, thread_id: str) -> AsyncIterator[ThreadSafeMessageStore]:
        """Have a thread for oneself, for several calls."""
        if self._locks is None:
            self._locks = LockManager(self._conn)
        async with self._locks.lock("thread", text(thread_id, "thread_id"), self._timeout):
            yield self

    async def add(
        self,
        thread_id: str,
        role: str,
        content: str,
        *,
        agent_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StoredMessage:
        """Put a message at the end of a thread and return it, as ``MessageStore.add``, when nobody else has the thread."""
        async with self.thread(thread_id):
            return await super().add(thread_id, role, content, agent_name=agent_name, metadata=metadata)

    create = add

    async def delete(self, id: str) -> bool:
        """Delete a message, as ``MessageStore.delete``, when nobody else has its thread."""
        found = await self.get(id)
        if found is None:
            return False
        async with self.thread(found.thread_id):
            return await super().delete(id)

    async def update_metadata(self, id: str, changes: Mapping[str, Any]) -> StoredMessage:
        """Merge *changes* into its metadata, as ``MessageStore.update_metadata``, when nobody else has its thread."""
        found = await self.get(id)
        if found is None:
            raise LookupError(f"there is no message {id!r:.200}")
        async with self.thread(found.thread_id):
            return await super().update_metadata(id, changes)
