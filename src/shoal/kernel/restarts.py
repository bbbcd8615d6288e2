"""Starting again what died: when, how often, and who has taken over meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentError, StoreError
from shoal.kernel.agent import AgentStatus, AgentVerb
from shoal.kernel.event import EventType, Fact
from shoal.kernel.status import advance_surely
from shoal.kernel.supervision import RestartWindow

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.places import Places
    from shoal.kernel.registration import Registration

__all__ = ["Restarts"]


class Restarts:
    """Restarts failed agents as their policy says."""

    def __init__(
        self,
        env: Env,
        places: Places,
        launch: Callable[[Registration], Awaitable[None]],
        given_up: Callable[[str], object],
    ) -> None:
        """*given_up* hears the id of an agent that is not started again."""
        self._env = env
        self._places = places
        self._launch = launch
        self.given_up = given_up
        self._windows: dict[str, RestartWindow] = {}
        self._waiting: dict[str, asyncio.Task[Any]] = {}  # by agent id

    def by_policy(self, registration: Registration) -> None:
        """Restart an agent that has failed, later each time, if its policy wants it."""
        window = self._windows.setdefault(registration.agent_id, RestartWindow(registration.options.restart))
        delay = window.next_delay(self._env.clock.monotonic()) if window.wanted(failed=True) else None
        if delay is None or not self._env.staying:
            self.given_up(registration.agent_id)
            self._places.fill_soon()
            return
        self._places.due.add(registration.agent_id)
        later = self._env.spawn(self._later(registration, delay), f"restart of {registration.name}")
        self._waiting[registration.agent_id] = later

    async def _later(self, registration: Registration, delay: float) -> None:
        await self._env.clock.sleep(delay)
        async with registration.lock:
            if self._waiting.get(registration.agent_id) is asyncio.current_task():
                del self._waiting[registration.agent_id]
            await self.now(registration, delay)

    async def now(self, registration: Registration, waited: float = 0.0) -> None:
        """Restart a failed agent. Whoever calls holds the registration's lock."""
        self._places.due.discard(registration.agent_id)
        alive = registration.cell is not None or registration.instance.status is not AgentStatus.FAILED
        if alive or not self._env.staying:
            return  # somebody was quicker
        count = registration.instance.restart_count + 1
        fact = Fact(
            event_type=EventType.AGENT_RESTARTED,
            agent_id=registration.agent_id,
            node_id=self._env.node_id,
            details={"restart_count": count, "waited_seconds": waited},
        )
        await advance_surely(self._env, registration, AgentVerb.START, restart_count=count, facts=(fact,))
        try:
            await self._launch(registration)
        except (AgentError, StoreError):
            self.by_policy(registration)

    def is_due(self, registration: Registration) -> bool:
        """Tell whether an agent that has failed will be started again, as far as is known by now."""
        return registration.agent_id in self._waiting or registration.lock.locked()

    def forget(self, registration: Registration) -> None:
        """Call off a restart that waits: somebody takes over."""
        self._places.due.discard(registration.agent_id)
        waiting = self._waiting.pop(registration.agent_id, None)
        if waiting is not None:
            waiting.cancel()
        self._windows.pop(registration.agent_id, None)

    def forget_all(self) -> None:
        """Call off all: the node stops."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()
