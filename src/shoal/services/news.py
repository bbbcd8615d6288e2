"""Changes of the directory as events: who has joined, changed, left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal.kernel.agent import AgentStatus
from shoal.kernel.event import EventType, Fact
from shoal.services.directory import Directory

if TYPE_CHECKING:
    from shoal.kernel.node import Node

__all__ = ["News"]

_THERE = (AgentStatus.RUNNING, AgentStatus.PAUSED, AgentStatus.STOPPING)


class News:
    """Writes an event for each change of a service of this node."""

    def __init__(self, node: Node, directory: Directory) -> None:
        self._node = node
        self._directory = directory
        self._told: dict[str, tuple[str, str, str]] = {}  # by agent id: state, service, instance, as they were told

    def changed(self, agent_id: str) -> None:
        """Hear that something has happened to an agent."""
        known = self._directory.get(agent_id) if agent_id in self._node.registrations else None
        told = self._told.get(agent_id)
        if known is None or known.instance.status not in _THERE:
            if told is not None:
                del self._told[agent_id]
                self._tell(EventType.SERVICE_LEFT, agent_id, *told)
            return
        now = (known.state, str(known.info["name"]), known.instance.name)
        if told is None or told[0] != now[0]:
            self._told[agent_id] = now
            self._tell(EventType.SERVICE_CHANGED if told else EventType.SERVICE_JOINED, agent_id, *now)

    def _tell(self, kind: EventType, agent_id: str, state: str, name: str, instance: str) -> None:
        details: dict[str, object] = {"name": name, "instance": instance}
        if kind is not EventType.SERVICE_LEFT:
            details["state"] = state
        node = self._node
        node.post.note(Fact(event_type=kind, agent_id=agent_id, node_id=node.env.node_id, details=details))
