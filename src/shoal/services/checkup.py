"""Health: every service of this node is asked how it is, and others hear of those that are not well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.errors import RequestError
from shoal.kernel.agent import AgentStatus
from shoal.services.directory import Directory
from shoal.services.known import WELL, Known

if TYPE_CHECKING:
    from shoal.kernel.node import Node
    from shoal.services.control import Control

__all__ = ["Checkup"]

EVERY_SECONDS = 10.0
FAILURES = 3
AT_ONCE = 20
BELL = "services.health"


class Checkup:
    """Asks services for their health; FAILURES in a row and one is left out of discovery, one success brings it back."""

    def __init__(self, node: Node, directory: Directory, control: Control) -> None:
        self._env = node.env
        self._directory = directory
        self._control = control
        self._failures: dict[str, int] = {}
        self._begun = False

    def begin(self) -> None:
        """Begin to ask; again does nothing."""
        if not self._begun:
            self._begun = True
            self._env.every(EVERY_SECONDS, self.look, "health of services")

    def listen(self) -> Callable[[], None]:
        """Hear of services of other nodes; returns an undo."""
        return self._env.bus.hear(BELL, self._heard)

    def _heard(self, note: str) -> None:
        agent_id, _, health = note.partition(" ")
        known = self._directory.get(agent_id)
        if known is not None and known.registration is None and health.isdecimal():
            known.health = min(WELL, int(health))
            self._directory.touch()

    async def look(self) -> None:
        """Ask all running services of this node once."""
        here = [known for known in self._directory.all() if known.registration is not None]
        running = [known for known in here if known.instance.status is AgentStatus.RUNNING]
        gone = self._failures.keys() - {known.instance.agent_id for known in here}
        for agent_id in gone:
            del self._failures[agent_id]
        asked = []
        for number, known in enumerate(running, 1):
            asked.append(self._env.watch(self._ask(known), f"health of {known.instance.name}"))
            if number % AT_ONCE == 0:
                await self._env.clock.sleep(0)  # others have their turn of the event loop
        await asyncio.gather(*asked)

    async def _ask(self, known: Known) -> None:
        try:
            well = bool((await self._control.ask_health(known))["ok"])
        except RequestError:
            well = False
        agent_id = known.instance.agent_id
        failures = 0 if well else self._failures.get(agent_id, 0) + 1
        self._failures[agent_id] = failures
        health = 0 if failures >= FAILURES else WELL - failures * (WELL // FAILURES)
        if health != known.health or not health:
            known.health = health
            self._directory.touch()
            self._env.bus.ring(BELL, f"{agent_id} {health}")
