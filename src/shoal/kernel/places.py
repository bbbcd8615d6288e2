"""The places for agents on one node: who lives, who comes to life, and who waits for a place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shoal.errors import AgentError, AgentStateError, StoreError
from shoal.kernel.agent import AgentStatus, AgentVerb
from shoal.kernel.status import advance_surely

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.launches import LaunchGate
    from shoal.kernel.registration import Registration

__all__ = ["Places"]


class Places:
    """Counts the places that are taken or kept, and gives free ones to those who wait, in order."""

    def __init__(self, env: Env, gate: LaunchGate, launch: Callable[[Registration], Awaitable[None]]) -> None:
        self._env = env
        self.gate = gate
        self._launch = launch
        self._filling = asyncio.Lock()
        self._queued: list[Registration] = []  # in the order in which they asked
        self._alive: list[Registration] = []  # in the order in which they came to life
        self.starting = 0
        self.due: set[str] = set()  # failed, and to be restarted soon: their places are kept

    # -- who lives

    @property
    def alive(self) -> list[Registration]:
        """Return the agents that live on this node, in order of start."""
        return list(self._alive)

    def enter(self, registration: Registration) -> None:
        """Note that an agent lives."""
        self._alive.append(registration)

    def leave(self, registration: Registration) -> None:
        """Note that it lives no longer."""
        if registration in self._alive:
            self._alive.remove(registration)

    @property
    def taken(self) -> int:
        """Return how many places are taken: by agents that live, and by those that are coming to life."""
        return len(self._alive) + self.starting

    def limit_for(self, registration: Registration) -> int | None:
        """Return how many agents may live for this one to start: places are kept for restarts, and for those before it."""
        most = self._env.limits.max_concurrent_agents
        if most is None:
            return None
        if self._queued and self._queued[0] is not registration:
            self.fill_soon()
            return 0
        return max(0, most - len(self.due - {registration.agent_id}))

    # -- who waits

    def queue(self, registration: Registration) -> None:
        """Remember who waits for a place."""
        if registration not in self._queued:
            self._queued.append(registration)

    def unqueue(self, registration: Registration) -> None:
        """Let one wait no longer."""
        if registration in self._queued:
            self._queued.remove(registration)

    @property
    def queued(self) -> int:
        """Return how many wait for a place, or for a quieter machine."""
        return len({registration.agent_id for registration in self._queued} | self.gate.waiting)

    def fill_soon(self) -> None:
        """Begin to start who waits."""
        if self._queued and self._env.staying:
            self._env.spawn(self._fill(), "fill places")

    async def _fill(self) -> None:
        """Start who waits, in order, as far as there are places."""
        async with self._filling:
            while self._queued and self._env.staying:
                if not await self._fill_one(self._queued[0]):
                    return

    async def _fill_one(self, registration: Registration) -> bool:
        """Start who waits longest; False when there is no place."""
        try:
            await self._env.persist(lambda: self.gate.wait(registration))
        except AgentStateError:
            return True  # stopped meanwhile
        async with registration.lock:
            if registration not in self._queued:
                return True  # stopped, or started by somebody else
            limit = self.limit_for(registration)
            if (
                await advance_surely(self._env, registration, AgentVerb.START, limit=limit)
            ).status is AgentStatus.QUEUED:
                return False
            self.unqueue(registration)
            try:
                await self._launch(registration)
            except (AgentError, StoreError):
                return True  # failed, with its event; its place goes to the next
        return True
