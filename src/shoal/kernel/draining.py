"""How a node leaves in order: it takes nothing new, ends or hands over what it does, and then stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from shoal.errors import AgentStateError, LeaseLostError, StoreError

if TYPE_CHECKING:
    from shoal.kernel.node import Node
    from shoal.kernel.ports import Node as NodeRecord

__all__ = ["Draining"]

log = logging.getLogger("shoal")


class Draining:
    """The first half of a node's end; the second is ``Node.stop``.

    Whoever wants another node to leave writes it into that node's record (``leases.drain``) and rings the bell ``drain``. A
    bell that is lost costs the time to the next sweep.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._env = node.env
        self._told = False
        self.told: Callable[[float], object] = lambda seconds: None  # hears what somebody elsewhere has ordered

    def heard(self, note: str) -> None:
        """Hear the bell: some node was told to leave."""
        if note == self._env.node_id:
            self.look(self._env.store.leases.nodes())

    def look(self, nodes: Iterable[NodeRecord]) -> None:
        """Look at this node's record whether it is to leave."""
        if self._told or self._env.draining:
            return
        seconds = next((node.draining for node in nodes if node.node_id == self._env.node_id), None)
        if seconds is not None:
            self._told = True
            self.told(seconds)

    async def begin(self, seconds: float) -> None:
        """Take nothing more, and say so in the node's record. Twice does nothing."""
        env, node = self._env, self._node
        if env.draining:
            return
        env.draining = True
        env.store.hurry(seconds)
        node.scheduler.accepting = False
        node.cells.restarts.forget_all()
        node.agents.standbys.clear()
        try:
            await env.store.leases.drain(env.node_id, seconds=seconds, now=env.clock.now())
        except StoreError as error:
            log.error("the store does not hear that node %s drains: %s; it goes on", env.node_id, error)
        env.bus.ring("nodes", env.node_id)

    async def finish(self, seconds: float) -> None:
        """Hand over the runs at the end of the steps they are at, then let every agent end what it has accepted.

        What is not done within *seconds* is left to the stop of the node. Paused agents stay paused.
        """
        env, node = self._env, self._node
        deadline = env.clock.monotonic() + seconds
        await node.runs.running.hand_over(seconds, min(seconds, env.settings.cancel_grace_seconds))
        names = [r.agent_id for r in reversed(node.cells.alive) if r.cell is not None and not r.cell.paused]
        left = max(0.0, deadline - env.clock.monotonic())
        await asyncio.gather(*(self._end(agent_id, left) for agent_id in names))

    async def _end(self, agent_id: str, seconds: float) -> None:
        try:
            await self._node.agents.drain(agent_id, seconds)
        except AgentStateError:
            return  # somebody was quicker
        except (LeaseLostError, StoreError) as error:
            log.error("agent %s was not drained: %s; the stop of its node ends it", agent_id, error)
