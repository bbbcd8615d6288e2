"""What an agent knows of its user: shown to the model, and added to by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.merging import merged
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.llm.toolcontext import ToolContext
from shoal.llm.tools import Tool

__all__ = ["UserNotes", "Users"]


class Users(Protocol):
    """Where it is kept: ``UserContextStore`` is one."""

    async def get(self, user_id: str) -> dict[str, Any]:
        """Return what is known of a user."""
        ...

    async def update(self, user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Merge *changes* into it, and return the whole."""
        ...


class _InMemory:
    """For an agent without a store."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, Any]] = {}

    async def get(self, user_id: str) -> dict[str, Any]:
        return self._users.get(user_id, {})

    async def update(self, user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        known = self._users[user_id] = merged(self._users.get(user_id, {}), changes)
        return known


class UserNotes:
    """What one agent does with what is known of its users; *users*: where it is kept, None: in this object."""

    def __init__(self, users: Users | None) -> None:
        self._users = users if users is not None else _InMemory()
        self.tool = Tool(
            self._remember,
            name="remember",
            description="Keep facts about the user for later conversations. `updates` is merged into what is known: "
            "objects merge, lists replace, null removes.",
        )

    async def _remember(self, context: ToolContext, updates: dict[str, Any]) -> str:
        await self._users.update(context.user_id, updates)
        return "remembered"

    async def text(self, scope: Scope, agent_name: str, user_id: str) -> str:
        """Return what is known of a user, for the system text. Read once in a run: replay reads the same."""

        async def read(ticket: Ticket) -> Any:
            return await self._users.get(user_id)

        order = StepOrder(segment="context", kind="context", agent_name=agent_name, digest=digest_of(user_id))
        known = (await scope.step(order, read)).output
        told = msgspec.json.encode(known, order="deterministic").decode() if known else "nothing yet"
        return f"What is known of the user: {told}"
