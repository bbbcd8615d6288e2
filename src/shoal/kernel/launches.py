"""Launches that wait for a quieter machine: queued, told by an event, and never for longer than the limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shoal.errors import AgentStateError
from shoal.kernel.agent import AgentStatus, AgentVerb, Isolation
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import AgentChange

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.load import Load
    from shoal.kernel.registration import Registration

__all__ = ["LaunchGate"]

log = logging.getLogger("shoal")

LOOK_SECONDS = 1.0


class LaunchGate:
    """Holds the launches of one node while its machine is too busy. Restarts by policy do not come by here."""

    def __init__(self, env: Env, load: Load) -> None:
        self._env = env
        self._load = load
        self.waiting: set[str] = set()  # ids of agents

    def busy(self, registration: Registration) -> str | None:
        """Return why this agent's launch is to wait, as a sentence, or None."""
        settings = self._env.settings
        own_process = registration.options.isolation not in (Isolation.INLINE, Isolation.THREAD)
        if settings.launch_gate != "all" and not own_process:
            return None
        return self._load.too_high(settings.launch_memory_limit, settings.launch_cpu_limit)

    async def wait(self, registration: Registration) -> None:
        """Queue a launch while the machine is too busy; return when it may go ahead.

        Raises:
            AgentStateError: the agent was stopped meanwhile.
        """
        why = self.busy(registration)
        if why is None or registration.instance.status is AgentStatus.PAUSED:
            return
        clock, longest = self._env.clock, self._env.settings.launch_max_delay_seconds
        began = clock.monotonic()
        fact = self._fact(registration, {"reason": why, "max_delay_seconds": longest})
        change = AgentChange(
            agent_id=registration.agent_id,
            verb=AgentVerb.QUEUE,
            node_id=self._env.node_id,
            queued_reason="load",
            facts=(fact,),
        )
        registration.instance = await self._env.store.agents.advance(change, now=clock.now())
        self.waiting.add(registration.agent_id)
        try:
            await self._until_quiet(registration, began + longest)
        finally:
            self.waiting.discard(registration.agent_id)

    async def _until_quiet(self, registration: Registration, deadline: float) -> None:
        clock = self._env.clock
        while (why := self.busy(registration)) is not None:
            left = deadline - clock.monotonic()
            if left <= 0:
                await self._go_ahead(registration, why)
                return
            await clock.sleep(min(LOOK_SECONDS, left))
            self._check_queued(registration)

    def _check_queued(self, registration: Registration) -> None:
        self._env.check_running()
        status = registration.instance.status
        if status is not AgentStatus.QUEUED:
            raise AgentStateError(
                f"Agent {registration.name!r} was stopped while its start waited for a quieter machine",
                status=status,
                operation="start",
                agent_id=registration.agent_id,
                name=registration.name,
            )

    async def _go_ahead(self, registration: Registration, why: str) -> None:
        waited = self._env.settings.launch_max_delay_seconds
        log.warning("agent %r starts after %g s all the same: %s", registration.name, waited, why)
        fact = self._fact(registration, {"reason": why, "waited_seconds": waited, "goes_ahead": True})
        await self._env.store.events.append([fact], now=self._env.clock.now())

    def _fact(self, registration: Registration, details: dict[str, object]) -> Fact:
        return Fact(
            event_type=EventType.LAUNCH_DELAYED,
            agent_id=registration.agent_id,
            node_id=self._env.node_id,
            details=details,
        )
