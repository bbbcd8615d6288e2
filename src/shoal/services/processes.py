"""What is known of the processes of a manager."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.agent import AgentStatus, RestartPolicy
from shoal.services.agent import ServiceAgent

if TYPE_CHECKING:
    from shoal.services.lasting import Failure
    from shoal.services.services import Services

__all__ = ["Child", "ProcessInfo"]


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a manager.

    Attributes:
        name: of the instance: ``class_0``, ``class_1`` ...
        pid: of its process on this machine, None while it has none.
        agent_class: what it was made of.
        options: what it was made with.
        started_at: when its present incarnation, or the last one, came to life.
        restarts: how often it was started again.
        state: the agent's status: starting, running, paused, stopping, failed ...
        comes_back: it has failed, and is started again in a while.
        exit_code: of its last incarnation that died; negative for a signal.
        last_error: why that one died, and the end of what it wrote to stderr.
    """

    name: str
    pid: int | None
    agent_class: type[ServiceAgent]
    options: dict[str, Any]
    started_at: datetime | None
    restarts: int
    state: str
    comes_back: bool = False
    exit_code: int | None = None
    last_error: str | None = None


class Child:
    """A process as its manager keeps it."""

    def __init__(
        self, word: str, agent_class: type[ServiceAgent], options: dict[str, Any], policy: RestartPolicy
    ) -> None:
        self.word = word  # its name but for the number
        self.name = word
        self.agent_class = agent_class
        self.options = options
        self.policy = policy
        self.agent_id: str | None = None
        self.failure: Failure | None = None
        self.starting: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[int | None] | None = None

    def info(self, services: Services) -> ProcessInfo:
        """Return what is known of it now."""
        node = services.node
        registration = None if self.agent_id is None else node.registrations.get(self.agent_id)
        known = None if registration is None else registration.instance
        cell = None if registration is None else registration.cell
        failure = self.failure
        return ProcessInfo(
            name=self.name,
            pid=None if cell is None else cell.handle.process_id,
            agent_class=self.agent_class,
            options=dict(self.options),
            started_at=None if known is None else known.started_at,
            restarts=0 if known is None else known.restart_count,
            state=AgentStatus.STARTING if known is None else str(known.status),
            comes_back=registration is not None
            and registration.instance.status is AgentStatus.FAILED
            and node.cells.restarts.is_due(registration),
            exit_code=None if failure is None else failure.exit_code,
            last_error=None if failure is None else f"{failure.text}\n{failure.output}".rstrip(),
        )
