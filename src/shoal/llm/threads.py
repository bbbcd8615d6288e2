"""Threads: the conversations of users, kept in a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.kernel.ports import Thread, Threads, ThreadStats
from shoal.llm import arguments
from shoal.llm.arguments import amount, json_object, text
from shoal.llm.connections import Connection, check_connection, clock_of, store_of

__all__ = ["ThreadStore"]


class ThreadStore:
    """Threads by user and agent: each call is one transaction. Lists are newest first, by ``updated_at``.

    Verbs on an id that is not known raise LookupError, but for ``get`` (None) and ``delete`` (False).

    Args:
        conn: an ``AgentRuntime``, or a store from ``await shoal.open_store(url)``.

    Raises:
        TypeError: *conn* is neither. Calls raise RuntimeNotStartedError or StoreError when it is not open.
    """

    def __init__(self, conn: Connection) -> None:
        check_connection(conn)
        self._conn = conn

    @property
    def _threads(self) -> Threads:
        return store_of(self._conn).conversations.threads

    async def create(
        self,
        user_id: str,
        agent_name: str | None = None,
        title: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Thread:
        """Make a thread, whose id is new, and return it. *metadata* is a JSON object."""
        now = clock_of(self._conn).now()
        thread = Thread(
            id=clock_of(self._conn).new_id(),
            user_id=text(user_id, "user_id"),
            agent_name=None if agent_name is None else text(agent_name, "agent_name"),
            title=text(title, "title", least=0),
            metadata=json_object(metadata or {}, "metadata"),
            created_at=now,
            updated_at=now,
        )
        await self._threads.create(thread)
        return thread

    async def get(self, id: str) -> Thread | None:
        """Return a thread; None when there is none."""
        return self._threads.get(text(id, "id"))

    async def update(self, id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None) -> Thread:
        """Change the title, merge *metadata* (dicts merge, lists replace, None removes), and return the thread."""
        return await self._threads.update(
            text(id, "id"),
            now=clock_of(self._conn).now(),
            title=None if title is None else text(title, "title", least=0),
            metadata=None if metadata is None else json_object(metadata, "metadata"),
        )

    async def delete(self, id: str) -> bool:
        """Remove a thread and all of its messages for good; False when there was neither."""
        return await self._threads.delete(text(id, "id"))

    async def archive(self, id: str) -> Thread:
        """Put a thread aside: lists leave it out."""
        return await self._threads.archive(text(id, "id"), True, now=clock_of(self._conn).now())

    async def unarchive(self, id: str) -> Thread:
        """Take a thread back that was put aside."""
        return await self._threads.archive(text(id, "id"), False, now=clock_of(self._conn).now())

    async def list_by_agent(self, name: str, *, archived: bool = False, limit: int = 100) -> list[Thread]:
        """Return the threads of an agent; with *archived* those put aside, too."""
        return [
            *self._threads.find(agent_name=text(name, "name"), archived=bool(archived), limit=amount(limit, "limit"))
        ]

    async def list_by_user(self, user_id: str, *, archived: bool = False, limit: int = 100) -> list[Thread]:
        """Return the threads of a user; with *archived* those put aside, too."""
        return [
            *self._threads.find(user_id=text(user_id, "user_id"), archived=bool(archived), limit=amount(limit, "limit"))
        ]

    async def fork(self, id: str, at: str | None = None) -> Thread:
        """Make a thread that begins as this one, up to and including the message *at* (None: all of it).

        Its ``parent_id`` is this one's id. Its messages are copies with ids of their own; deleted ones are left out.
        """
        clock = clock_of(self._conn)
        return await self._threads.fork(text(id, "id"), clock.new_id(), now=clock.now(), at=at)

    async def search(self, text: str, *, limit: int = 100) -> list[Thread]:
        """Return the threads that have this text in their title or in a message, whole words or not.

        ASCII letters match in either case. All messages are read through: there is no index of words.
        """
        return [*self._threads.search(arguments.text(text, "text"), amount(limit, "limit"))]

    async def stats(self, id: str) -> ThreadStats:
        """Return the messages of a thread in numbers."""
        return self._threads.stats(text(id, "id"))
