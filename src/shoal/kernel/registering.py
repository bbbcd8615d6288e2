"""Taking names: each is one node's, unless the agent is a singleton, for which the others stand by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shoal.errors import AgentNameTakenError, AgentStateError
from shoal.kernel.registration import Registration
from shoal.kernel.standby import Standbys

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.registration import Order

__all__ = ["Registering"]


class Registering:
    """The names that a node has, and those for which it stands by."""

    def __init__(
        self, env: Env, registrations: dict[str, Registration], start: Callable[[str], Awaitable[None]]
    ) -> None:
        self._env = env
        self._registrations = registrations
        self.standbys = Standbys(env, self._take, start)

    async def register(self, order: Order) -> str:
        """Take a name, or stand by for it, and return the agent's id. Raises AgentNameTakenError.

        Who is cut short has registered nothing that was not there before.
        """
        new_id = self._env.clock.new_id()
        taking = self._env.watch(self._take_or_stand_by(order, new_id), f"register {order.name}")
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait([taking])
            if new_id in self._registrations:
                await self._undo(new_id)
            raise

    async def adopt(self, earlier: Registering) -> None:
        """Make known again what this runtime knew before it was stopped."""
        orders = [registration.order for registration in earlier._registrations.values()]
        for order in (*orders, *earlier.standbys.orders):
            await self.register(order)

    async def _take_or_stand_by(self, order: Order, new_id: str) -> str:
        try:
            return (await self._take(order, new_id)).agent_id
        except AgentNameTakenError as taken:
            if not order.options.singleton:
                raise
            return self.standbys.add(order, taken)

    async def _take(self, order: Order, new_id: str | None = None) -> Registration:
        """Take a name that nobody holds; its agent has *new_id* when nobody has had it."""
        env = self._env
        now = env.clock.now()
        stored = await env.store.agents.register(
            order.instance(new_id or env.clock.new_id(), env.node_id, now), now=now
        )
        registration = Registration(order.source, order.config, order.options, stored)
        self._registrations[stored.agent_id] = registration
        self.standbys.forget(order.name)
        env.bus.ring("agents", stored.agent_id)
        return registration

    async def _undo(self, agent_id: str) -> None:
        try:
            await self._env.store.agents.unregister(agent_id, now=self._env.clock.now())
        except AgentStateError:
            return  # somebody has started it by its name meanwhile
        del self._registrations[agent_id]
        self._env.bus.ring("agents", agent_id)
