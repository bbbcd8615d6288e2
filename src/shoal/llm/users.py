"""What is known of users, kept in a store and shared by all agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.kernel.ports import UserContexts
from shoal.llm.arguments import json_object, text
from shoal.llm.connections import Connection, check_connection, clock_of, store_of

__all__ = ["UserContextStore"]


class UserContextStore:
    """One JSON object per user. Each call is one transaction, so of several agents that update it at once none is lost.

    Args:
        conn: an ``AgentRuntime``, or a store from ``await shoal.open_store(url)``.

    Raises:
        TypeError: *conn* is neither. Calls raise RuntimeNotStartedError or StoreError when it is not open.
    """

    def __init__(self, conn: Connection) -> None:
        check_connection(conn)
        self._conn = conn

    @property
    def _users(self) -> UserContexts:
        return store_of(self._conn).conversations.users

    async def get(self, user_id: str) -> dict[str, Any]:
        """Return what is known of a user; an empty dict when nothing is."""
        return self._users.get(text(user_id, "user_id"))

    async def set(self, user_id: str, value: Mapping[str, Any]) -> None:
        """Replace all that is known of a user by *value*, a JSON object."""
        given = json_object(value, "value")
        await self._users.set(text(user_id, "user_id"), given, now=clock_of(self._conn).now())

    async def update(self, user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Merge *changes* into what is known and return the whole: dicts merge at every depth, lists replace, None removes
        (the rules of JSON Merge Patch, RFC 7396)."""
        given = json_object(changes, "changes")
        return await self._users.update(text(user_id, "user_id"), given, now=clock_of(self._conn).now())

    async def delete(self, user_id: str) -> bool:
        """Forget a user; False when nothing was known."""
        return await self._users.delete(text(user_id, "user_id"))

    async def list_users(self) -> list[str]:
        """Return the ids of all users of whom something is known, sorted."""
        return [*self._users.users()]
