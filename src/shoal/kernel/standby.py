"""Singletons that live on another node: this one stands by, and takes one up when that node has ended.

There is no election. Whoever finds an agent free registers it, and the store lets one node have it; how long each waits
before it tries follows from how busy it is among all nodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import AgentNameTakenError, AgentNotFoundError
from shoal.kernel.agent import AgentStatus

if TYPE_CHECKING:
    from shoal.kernel.agent import AgentInstance
    from shoal.kernel.env import Env
    from shoal.kernel.ports import Node
    from shoal.kernel.registration import Order, Registration

__all__ = ["Standby", "Standbys"]

STEP_SECONDS = 0.05
MOST_STEPS = 6
"""Nodes beyond this rank try at the same moment."""

AGENTS_OF_A_MACHINE = 20
"""So many agents count as much as a machine whose cores are all in use."""


class Standby(msgspec.Struct, kw_only=True):
    """An agent that lives elsewhere. ``wanted``: it is started here when it is taken up."""

    order: Order
    agent_id: str
    holder: str
    wanted: bool = False
    trying: bool = False


class Standbys:
    """The singletons that a node stands by for."""

    def __init__(
        self,
        env: Env,
        take: Callable[[Order], Awaitable[Registration]],
        start: Callable[[str], Awaitable[None]],
    ) -> None:
        self._env = env
        self._take = take
        self._start = start
        self._standing: dict[str, Standby] = {}  # by name
        self.busy: Callable[[], tuple[float, int]] = lambda: (0.0, 0)  # share of the cores in use, agents that live

    def __contains__(self, address: object) -> bool:
        return self._get(address) is not None

    def _get(self, address: object) -> Standby | None:
        found = self._standing.get(str(address))
        return found or next((each for each in self._standing.values() if each.agent_id == address), None)

    @property
    def orders(self) -> list[Order]:
        """What each of them is to be."""
        return [standby.order for standby in self._standing.values()]

    def holders(self) -> dict[str, str]:
        """Return the ids of the nodes where they live, by name, as far as is known here."""
        return {name: standby.holder for name, standby in self._standing.items()}

    def add(self, order: Order, taken: AgentNameTakenError) -> str:
        """Stand by for an agent that is *taken*, and return its id."""
        before = self._standing.get(order.name)
        standby = Standby(order=order, agent_id=taken.agent_id or "", holder=taken.node_id)
        standby.wanted = before is not None and before.wanted
        self._standing[order.name] = standby
        return standby.agent_id

    def want(self, address: str, *, alive: bool) -> bool:
        """Note whether an agent is to be started when it is taken up; False: this node does not stand by for it."""
        standby = self._get(address)
        if standby is not None:
            standby.wanted = alive
        return standby is not None

    def forget(self, address: str) -> bool:
        """Stand by no more; False: this node did not."""
        standby = self._get(address)
        if standby is not None:
            del self._standing[standby.order.name]
        return standby is not None

    def clear(self) -> None:
        """Stand by for nothing: the node leaves."""
        self._standing.clear()

    # -- taking up

    def heard(self, agent_id: str) -> None:
        """Hear that something has become of an agent."""
        standby = self._get(agent_id) if self._standing else None
        if standby is not None:
            self._try_soon(standby)

    def look(self, nodes: Sequence[Node]) -> None:
        """Look whether a node that has one of them has ended, or is about to."""
        there = {node.node_id: node for node in nodes if not node.lost}
        for standby in list(self._standing.values()):
            holder = there.get(standby.holder)
            if holder is None or holder.draining is not None:
                self._try_soon(standby)

    def _try_soon(self, standby: Standby) -> None:
        if not standby.trying and self._env.staying:
            standby.trying = True
            self._env.spawn(self._try(standby), f"stand by for {standby.order.name}")

    async def _try(self, standby: Standby) -> None:
        try:
            if await self._took(standby) and standby.wanted:
                await self._start(standby.agent_id)
        finally:
            standby.trying = False

    async def _took(self, standby: Standby) -> bool:
        """Take an agent up if it is still free when it is this node's turn; tell whether it is to be started then."""
        env, name = self._env, standby.order.name
        for pause in (self._pause(env.store.leases.nodes()), None):
            try:
                instance = env.store.agents.get(name)
            except AgentNotFoundError:  # it was unregistered where it lived
                self._standing.pop(name, None)
                return False
            standby.agent_id = instance.agent_id
            if self._is_held(standby, instance):
                return False
            if pause is not None:
                await env.clock.sleep(pause)
        if self._standing.get(name) is not standby or not env.staying:
            return False
        try:
            registration = await self._take(standby.order)
        except AgentNameTakenError as taken:
            standby.holder = taken.node_id
            return False
        return registration.instance.status is AgentStatus.STOPPED

    def _is_held(self, standby: Standby, instance: AgentInstance) -> bool:
        """Tell whether some node has it, as the store will see it."""
        if instance.node_id is None:
            return False
        node = next((each for each in self._env.store.leases.nodes() if each.node_id == instance.node_id), None)
        if node is None or node.lost:
            return False
        standby.holder = node.node_id
        return node.draining is None or instance.status not in (AgentStatus.STOPPED, AgentStatus.FAILED)

    def _pause(self, nodes: Sequence[Node]) -> float:
        """Return what this node waits: so many steps as there are nodes less busy than it."""
        mine = self._env.node_id
        own = (_weight(*self.busy()), mine)
        others = (node for node in nodes if node.node_id != mine and not node.lost and node.draining is None)
        rank = sum((_weight(node.load, node.agents), node.node_id) < own for node in others)
        return min(rank, MOST_STEPS) * STEP_SECONDS


def _weight(load: float, agents: int) -> float:
    return load + agents / AGENTS_OF_A_MACHINE
