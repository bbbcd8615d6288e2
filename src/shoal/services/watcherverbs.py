"""What an AgentWatcher asks of its runtime: to start and to end services of this node. Nobody else may."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentNameTakenError, AgentNotFoundError, AgentStateError, ConfigError, RequestError
from shoal.kernel.agent import AgentStatus
from shoal.services import codes
from shoal.services.agent import ServiceAgent
from shoal.services.introducing import Isolation
from shoal.services.watcher import AgentWatcher
from shoal.services.watchversion import same_code

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.services.services import Services

__all__ = ["WatcherVerbs"]

log = logging.getLogger("shoal.services")


class WatcherVerbs:
    """The verbs of watchers.

    Who calls is told by what the runtime itself knows of the agent, never by what a child says: its code must run on this
    node's own loop, where it can do whatever the node can, and it must be a watcher. An agent in a process or behind walls
    is refused, also one of this class.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watched: dict[str, str] = {}  # the id of the watcher of each folder

    def by_name(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """Return them as an agent's link calls them."""
        return {
            "services.watch": self._watch,
            "services.start": self._start,
            "services.stop": self._stop,
            "services.left": self._left,
        }

    @staticmethod
    def _check(cell: Cell) -> None:
        registration = cell.registration
        source = registration.source
        kind = source if isinstance(source, type) else type(source)
        if registration.options.isolation != "inline" or not issubclass(kind, AgentWatcher):
            text = f"{cell.name} may not start or end services: only an AgentWatcher with isolation='inline' may"
            raise RequestError(codes.UNAUTHORIZED, text)

    async def _watch(self, cell: Cell, entry: Entry | None, folder: str) -> None:
        """Have a folder as its watcher on this node: two would take up, and end, each other's instances."""
        self._check(cell)
        there = self._services.node.registrations
        self._watched = {path: watcher for path, watcher in self._watched.items() if watcher in there}
        other = there.get(self._watched.get(folder, cell.agent_id))
        if other is not None and other.agent_id != cell.agent_id and other.instance.status.live:
            raise ConfigError(f"the agent folder {folder} has a watcher on this node: {other.name}")
        self._watched[folder] = cell.agent_id

    async def _start(
        self, cell: Cell, entry: Entry | None, agent: type[ServiceAgent], isolation: Isolation, instance: str | None
    ) -> str:
        """Start a service, and return its instance. One that an earlier life of the watcher has left is taken up."""
        self._check(cell)
        services, node = self._services, self._services.node
        try:
            return (await services.start(agent, None, isolation, instance=instance)).instance
        except AgentNameTakenError as error:
            held = node.registrations.get(error.agent_id or "")
            if held is None or held.instance.status is AgentStatus.STOPPING or not same_code(held.source, agent):
                raise
            await node.agents.start(held.agent_id)
            return held.name

    async def _stop(self, cell: Cell, entry: Entry | None, instance: str, grace: float) -> bool:
        """Drain a service of this node, or forget one that no node has. Returns whether it is known no more."""
        self._check(cell)
        known = self._services.directory.get(instance)
        if known is None or known.registration is not None:
            await self._services.stop(instance, grace)
        elif known.instance.node_id is None:
            try:
                await self._services.node.agents.unregister(known.instance.agent_id)
            except (AgentNotFoundError, AgentStateError) as error:
                log.info("%s was taken up or forgotten meanwhile: %s", instance, error)
        return all(registration.name != instance for registration in self._services.node.registrations.values())

    async def _left(self, cell: Cell, entry: Entry | None, pattern: str) -> list[str]:
        """Return the instances whose name is like *pattern* and which this node has, or none."""
        self._check(cell)
        directory, here = self._services.directory, self._services.node.env.node_id
        found = [known.instance for known in directory.all() if known.instance.node_id in (here, None)]
        return [instance.name for instance in found if re.fullmatch(pattern, instance.name)]
