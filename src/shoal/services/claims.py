"""Exclusive names: of two that want the same one at the same moment, on whichever nodes, one has it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shoal.errors import AgentNameTakenError, AgentNotFoundError, RequestError, VersionConflictError
from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.services import codes
from shoal.services.info import AgentRecord

if TYPE_CHECKING:
    from shoal.kernel.node import Node

__all__ = ["Claims", "taken_by", "taken_by_outsider"]

PREFIX = "shoal.services/names/"
TRIES = 5


class Claims:
    """Who has an exclusive name stands under a key of the shared store, and is changed by compare-and-set.

    A claim holds as long as whoever has it: an agent from outside for its lease; an agent of a node while it is registered
    there and the node is not given up. So there is nothing to renew and nothing to give back, and what fences an agent
    fences its name: a node that was frozen and given up has lost both. An agent that has failed keeps its name on other
    nodes, since its own may be about to start it again.

    Args:
        node: whose agents may want names.
        outsider: returns the living agent from outside with this id, None when there is none.
    """

    def __init__(self, node: Node, outsider: Callable[[str], AgentRecord | None]) -> None:
        self._node = node
        self._env = node.env
        self._outsider = outsider

    async def take(self, name: str, uuid: str) -> None:
        """Have a name from now on, for an agent that is registered already. Raises AgentNameTakenError."""
        kv, key = self._env.store.kv, PREFIX + name
        for _ in range(TRIES):
            now = self._env.clock.now()
            entry = kv.get(key, now=now)
            holder = None if entry is None else entry.value["uuid"]
            if holder == uuid:
                return
            taken = None if holder is None else self._taken(holder)
            if taken is not None:
                raise taken
            version = 0 if entry is None else entry.version
            with suppress(VersionConflictError):  # somebody else wants it: let us see who
                await kv.set(key, {"uuid": uuid}, now=now, expected=version, node_id=self._env.node_id)
                return
        raise RequestError(codes.REGISTRY_UNAVAILABLE, f"too many want the name {name!r} at once")

    async def give_up(self, name: str, uuid: str) -> None:
        """Have a name no more; when another one has it, nothing happens."""
        kv, key, env = self._env.store.kv, PREFIX + name, self._env
        entry = kv.get(key, now=env.clock.now())
        if entry is not None and entry.value["uuid"] == uuid:
            with suppress(VersionConflictError):
                await kv.delete(key, now=env.clock.now(), expected=entry.version, node_id=env.node_id)

    def _taken(self, holder: str) -> AgentNameTakenError | None:
        """Return the error for a name that *holder* has; None when it has let go of it."""
        outsider = self._outsider(holder)
        if outsider is not None:
            return taken_by_outsider(outsider)
        try:
            instance = self._env.store.agents.get(holder)
        except AgentNotFoundError:
            return None
        return taken_by(instance) if self._holds(instance) else None

    def _holds(self, instance: AgentInstance) -> bool:
        registration = self._node.registrations.get(instance.agent_id)
        if registration is not None:
            failed = registration.instance.status is AgentStatus.FAILED
            return not failed or self._node.cells.restarts.is_due(registration)
        return any(node.node_id == instance.node_id and not node.lost for node in self._env.store.leases.nodes())


def taken_by(found: AgentInstance) -> AgentNameTakenError:
    """Return the error for a service of which one living instance is all there may be."""
    since = found.created_at.isoformat(timespec="seconds")
    return AgentNameTakenError(found.name, node_id=found.node_id or "", since=since, agent_id=found.agent_id)


def taken_by_outsider(record: AgentRecord) -> AgentNameTakenError:
    """Return the error for a name that an agent from outside has."""
    since = record.registered_at.isoformat(timespec="seconds")
    return AgentNameTakenError(record.name, node_id="(none of this runtime)", since=since, agent_id=record.uuid)
