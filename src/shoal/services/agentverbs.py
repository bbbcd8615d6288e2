"""What services ask of their runtime, whatever process they run in, and how it reaches agents from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from shoal.errors import NotFound
from shoal.services.control import Control, Controller
from shoal.services.directory import Directory
from shoal.services.info import AgentRecord
from shoal.services.known import SERVICE
from shoal.services.targets import read_target

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.message import AgentMessage
    from shoal.kernel.node import Node

__all__ = ["AgentVerbs"]


class AgentVerbs:
    """The verbs of agents that have to do with services."""

    def __init__(self, node: Node, directory: Directory, control: Control) -> None:
        self._node = node
        self._directory = directory
        self._control = control

    def by_name(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """Return them as an agent's link calls them."""
        return {
            "services.discover": self._discover,
            "services.find": self._find,
            "services.control": self._order,
            "services.ask": self._ask,
            "agent.told_to_end": self._told_to_end,
        }

    async def ask_outside(self, recipient: str, message_type: str, data: Any, seconds: float) -> AgentMessage:
        """Ask an agent from outside, by its id, at its address. Raises NotFound: this runtime has no way there."""
        outside = self._directory.outside
        record = outside.get(recipient)
        if record is None or record.address is None or not outside.callable(record):
            raise NotFound(f"{recipient[:80]!r} is not registered any more, or there is no way to its address")
        message = self._node.post.writing.question(None, record.address, message_type, data, seconds)
        return await self._node.env.bus.request(record.address, message, seconds)

    async def _discover(
        self, cell: Cell, entry: Entry | None, capabilities: list[str], healthy: bool, **like: str | None
    ) -> list[AgentRecord]:
        return self._directory.discover(capabilities, healthy=healthy, **like)

    async def _find(self, cell: Cell, entry: Entry | None, target: Any) -> list[AgentRecord]:
        return self._directory.find(read_target(target))

    async def _ask(self, cell: Cell, entry: Entry | None, recipient: str, data: Any, seconds: float) -> AgentMessage:
        return await self.ask_outside(recipient, "request", data, seconds)

    async def _told_to_end(self, cell: Cell, entry: Entry | None) -> None:
        """Hear that the process of an agent was told to end: a service is drained, and withdrawn."""
        if self._node.env.status == "running" and self._directory.get(cell.agent_id) is not None:
            await self._control.order(cell.agent_id, "drain", None, None)
        else:
            await self._node.agents.told_to_end(cell, entry)

    async def _order(self, cell: Cell, entry: Entry | None, target: Any, action: str, data: Any) -> Any:
        info: Any = cell.registration.options.metadata.get(SERVICE) or {}
        by = Controller(cell.agent_id, cell.name, str(info.get("name", cell.name)))
        return await self._control.order(read_target(target), action, data, by)
