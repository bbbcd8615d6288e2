"""One instance of a service, as a view of the agent that it is.

There is no second truth: what a service says of itself stands in its agent's ``metadata["service"]``, the rest is the
agent's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.services.info import AgentRecord, AgentType

if TYPE_CHECKING:
    from shoal.kernel.node import Node
    from shoal.kernel.registration import Registration

__all__ = ["SERVICE", "WELL", "Known"]

SERVICE = "service"
"""The key of an agent's metadata under which a service's info stands."""
WELL = 100
LOOK_SECONDS = 1.0
BELIEVED_SECONDS = 2.0
"""What another node has told of a load is believed so long; it tells one that lasts more often."""


class Known:
    """One instance of a service."""

    __slots__ = (
        "_read",
        "_read_at",
        "_stored",
        "concurrency",
        "health",
        "info",
        "registration",
        "told",
        "type",
        "words",
    )

    def __init__(self, instance: AgentInstance, registration: Registration | None) -> None:
        info: Any = instance.metadata[SERVICE]
        self._stored = instance
        self.registration = registration
        self.info: dict[str, Any] = info
        self.type = AgentType(info["type"])
        self.words: frozenset[str] = frozenset(info["capabilities"])
        self.concurrency: int = info.get("concurrency", 1)
        self.health = WELL
        self.told: tuple[float, float] | None = None  # its load as its node told it, and when this one heard it
        self._read: AgentRecord | None = None
        self._read_at = 0.0

    @property
    def instance(self) -> AgentInstance:
        """What the store knows of the agent."""
        return self._stored if self.registration is None else self.registration.instance

    def look(self, instance: AgentInstance) -> None:
        """Take in what the store says now."""
        self._stored, self._read = instance, None

    @property
    def state(self) -> str:
        """The agent's status; ``draining`` while it is stopping with requests still to finish."""
        status = self.instance.status
        if status is AgentStatus.STOPPING:
            cell = None if self.registration is None else self.registration.cell
            return "stopping" if cell is not None and cell.closing else "draining"
        return str(status)

    def load(self, now: float) -> float:
        """Requests waiting or running, over how many run at once; of another node as that told it, at most 1 s ago."""
        if self.registration is None:
            told = self.told
            return told[0] if told is not None and now - told[1] < BELIEVED_SECONDS else 0.0
        cell = self.registration.cell
        if cell is None:
            return 0.0
        running = sum(entry.message is not None for entry in cell.entries.values()) if cell.entries else 0
        return (running + len(cell.attempts) + len(cell.inbox.mailbox) + cell.inbox.parked) / self.concurrency

    def record(self, node: Node, now: float) -> AgentRecord:
        """Return it as a record, at most LOOK_SECONDS old where nothing but times has changed."""
        read, state, load = self._read, self.state, self.load(now)
        if (
            read is not None
            and read.state == state
            and read.load == load
            and read.health == self.health
            and now - self._read_at < LOOK_SECONDS
        ):
            return read
        instance, info, env = self.instance, self.info, node.env
        cell = None if self.registration is None else self.registration.cell
        self._read_at = now
        self._read = AgentRecord(
            uuid=instance.agent_id,
            name=info["name"],
            instance=instance.name,
            type=self.type,
            capabilities=tuple(info["capabilities"]),
            version=info["version"],
            node=instance.node_id,
            pid=instance.process_id if cell is None else cell.handle.process_id,
            state=state,
            load=load,
            health=self.health,
            request_schema=info["request_schema"],
            metadata=info["metadata"],
            registered_at=instance.created_at,
            last_seen=instance.updated_at if cell is None else env.clock.now(),
            lease_expires_at=env.lease_until if cell is not None else None,
            started_at=instance.started_at,
        )
        return self._read
