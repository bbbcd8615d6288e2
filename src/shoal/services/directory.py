"""Who is there: the services of all nodes on one store, as views of the agents that they are (``known.py``).

Agents of this node are looked at directly; those of other nodes in a copy that bells keep up to date and that is read anew
after LOOK_SECONDS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentNotFoundError, NotFound, RegistryUnavailableError, RequestError, StoreError
from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.services import codes
from shoal.services.claims import taken_by
from shoal.services.info import AgentInfo, AgentRecord
from shoal.services.known import SERVICE, Known
from shoal.services.loads import Loads
from shoal.services.outside import Outside
from shoal.services.outsiders import merged
from shoal.services.targets import Capability

if TYPE_CHECKING:
    from shoal.kernel.node import Node

__all__ = ["Directory"]

LOOK_SECONDS = 1.0
KEPT_SECONDS = 0.1
MOST_KEPT = 100
_TOLD = {"name", "type", "capabilities", "version", "request_schema", "metadata", "control_from"}
_STARTING = (AgentStatus.STARTING, AgentStatus.QUEUED)


class Directory:
    """Finds services. Every look-up is answered from memory."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._env = node.env
        self._known: dict[str, Known] = {}  # by agent id
        self._names: dict[str, dict[str, Known]] = {}  # by the service's name, then by agent id
        self._instances: dict[str, Known] = {}  # by the agent's name
        self._looked_at: float | None = None
        self.outside = Outside(node)
        self._loads = Loads(node.env, self._known)
        node.at_end(self._loads.listen())
        self._found: dict[Any, tuple[float, list[AgentRecord]]] = {}  # what was just asked for

    # -- keeping up to date

    def refresh(self) -> None:
        """Read the copy anew when it is older than LOOK_SECONDS; while the store cannot be read, the old one serves.

        Raises RegistryUnavailableError: there is none yet.
        """
        now = self._env.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return
        try:
            others = (node.node_id != self._env.node_id for node in self._env.store.leases.nodes())
            if self._looked_at is not None and not any(others):
                self._looked_at = now  # nobody else changes anything
                return
            found = self._env.store.agents.search()
        except StoreError as error:
            if self._looked_at is None:
                raise RegistryUnavailableError(f"the store cannot be read: {error}") from error
            self._looked_at = now
            return
        self._looked_at = now
        there = {instance.agent_id for instance in found}
        for agent_id in [each for each in self._known if each not in there]:
            self.drop(agent_id)
        for instance in found:
            self._take(instance)

    def look(self, agent_id: str) -> Known | None:
        """Read one agent anew: a bell has told of it, or a request there has failed."""
        try:
            instance = self._env.store.agents.get(agent_id)
        except AgentNotFoundError:
            self.drop(agent_id)
            return None
        except StoreError:  # what was known serves
            return self._known.get(agent_id)
        return self._take(instance)

    def _take(self, instance: AgentInstance) -> Known | None:
        info = instance.metadata.get(SERVICE)
        if not isinstance(info, dict) or not info.keys() >= _TOLD:  # an agent may have such a key of its own
            return None
        registration = self._node.registrations.get(instance.agent_id)
        known = self._known.get(instance.agent_id)
        if known is None or known.registration is not registration:
            if known is not None:
                self.drop(instance.agent_id)
            known = Known(instance, registration)
            self._known[instance.agent_id] = self._instances[instance.name] = known
            self._names.setdefault(known.info["name"], {})[instance.agent_id] = known
            if registration is not None:
                self._loads.begin()
        known.look(instance)
        self.touch()
        return known

    def touch(self) -> None:
        """Hear that something has changed: what was found before may be another now."""
        self._found.clear()

    def drop(self, agent_id: str) -> None:
        """Forget an agent."""
        self.touch()
        known = self._known.pop(agent_id, None)
        if known is None:
            return
        if self._instances.get(known.instance.name) is known:
            del self._instances[known.instance.name]
        named = self._names.get(known.info["name"], {})
        named.pop(agent_id, None)
        if not named:
            self._names.pop(known.info["name"], None)

    # -- looking up

    def get(self, address: str) -> Known | None:
        """Return the instance with this id or name."""
        known = self._known.get(address) or self._instances.get(address)
        if known is None:
            self.refresh()
            known = self._known.get(address) or self._instances.get(address)
        return known

    def all(self) -> list[Known]:
        """Return every instance, by registration."""
        self.refresh()
        return sorted(self._known.values(), key=_by_registration)

    def reachable(self, known: Known) -> bool:
        """Tell whether some node has the agent now."""
        if known.registration is not None:
            return known.registration.cell is not None
        return self._env.bus.has(known.instance.agent_id)

    def serves(self, known: Known, *, healthy: bool = True) -> bool:
        """Tell whether a new request may go there."""
        if not known.type.answers or (healthy and not known.health):
            return False
        if known.registration is not None:
            cell = known.registration.cell
            status = known.registration.instance.status
            return cell is not None and status is AgentStatus.RUNNING and not cell.closing
        return known.instance.status is AgentStatus.RUNNING and self._env.bus.has(known.instance.agent_id)

    def discover(
        self, words: Sequence[str], *, type: str | None = None, version: str | None = None, healthy: bool = True
    ) -> list[AgentRecord]:
        """Return those that serve and have all *words*, by registration. Loads are at most KEPT_SECONDS old."""
        self.refresh()
        wanted = frozenset(word.strip().casefold() for word in words)
        outside = self.outside.discover(wanted, type=type, version=version, healthy=healthy)
        asked, now = (wanted, type, version, healthy), self._env.clock.monotonic()
        kept = self._found.get(asked)
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return merged(kept[1], outside)
        if len(self._found) >= MOST_KEPT:
            self._found.clear()
        found = [
            known
            for known in self._known.values()
            if wanted <= known.words
            and (type is None or known.type == type)
            and (version is None or known.info["version"] == version)
            and self.serves(known, healthy=healthy)
        ]
        records = self._records(sorted(found, key=_by_registration))
        self._found[asked] = (now, records)
        return merged(records, outside)

    def find(self, target: str | Capability) -> list[AgentRecord]:
        """Return the instances that a request to *target* may go to.

        Raises RequestError: NOT_FOUND, NOT_A_SERVER. A capability that nobody has is an empty list.
        """
        if isinstance(target, Capability):
            found = self.discover([target.word])
            return [each for each in found if each.node is not None or self.outside.callable(each)]
        known = self.get(target)
        if known is not None:
            return self._records([_server(known)])
        self.refresh()
        named = [_server(each) for each in self._names.get(target, {}).values()]
        outside = self.outside.find(target, others=bool(named))
        if not named and not outside:
            raise NotFound(f"nobody is called {target[:80]!r}")
        return merged(self._records(self._best(named)), outside)

    def _best(self, named: list[Known]) -> list[Known]:
        """Return those that serve; else those that keep requests for later; else all, whose state the sender will hear."""
        return (
            [known for known in named if self.serves(known)]
            or [known for known in named if known.instance.status is AgentStatus.PAUSED and self.reachable(known)]
            or [known for known in named if self.reachable(known)]
            or named
        )

    def living(self, name: str) -> Iterator[Known]:
        """Yield the instances of a service that are alive or about to be."""
        self.refresh()
        for known in self._names.get(name, {}).values():
            if known.instance.status.live and (self.reachable(known) or known.instance.status in _STARTING):
                yield known

    def check_free(self, info: AgentInfo) -> None:
        """Raise AgentNameTakenError when a service of this name is alive, and it or *info* is exclusive."""
        for known in self.living(info.name):
            if info.exclusive or known.info.get("exclusive"):
                raise taken_by(known.instance)
        self.outside.check_free(info)

    def _records(self, found: Sequence[Known]) -> list[AgentRecord]:
        now = self._env.clock.monotonic()
        return [known.record(self._node, now) for known in found]


def _by_registration(known: Known) -> tuple[Any, str]:
    return known.instance.created_at, known.instance.agent_id


def _server(known: Known) -> Known:
    if not known.type.answers:
        raise RequestError(codes.NOT_A_SERVER, f"{known.info['name']} is a client: it answers no requests")
    return known
