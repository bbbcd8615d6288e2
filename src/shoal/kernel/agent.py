"""Agents: what counts as one, what the runtime knows of one, and what may become of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from shoal.kernel.event import EventType
from shoal.kernel.task import Task

if TYPE_CHECKING:
    from shoal.kernel.context import AgentContext

__all__ = [
    "AGENT_EVENTS",
    "AGENT_TRANSITIONS",
    "AgentInstance",
    "AgentProtocol",
    "AgentSource",
    "AgentStatus",
    "AgentVerb",
    "BaseAgent",
    "Isolation",
    "RestartPolicy",
]


class AgentStatus(StrEnum):
    """Where an agent stands."""

    STOPPED = "stopped"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FAILED = "failed"

    @property
    def live(self) -> bool:
        """Tell whether it takes one of the places of ``max_concurrent_agents``."""
        return self in (AgentStatus.STARTING, AgentStatus.RUNNING, AgentStatus.PAUSED, AgentStatus.STOPPING)


class AgentVerb(StrEnum):
    """What can happen to an agent's status."""

    QUEUE = "queue"
    START = "start"
    STARTED = "started"
    START_FAILED = "start_failed"
    PAUSE = "pause"
    RESUME = "resume"
    RESUME_FAILED = "resume_failed"
    STOP = "stop"
    STOPPED = "stopped"
    DIED = "died"
    NODE_LOST = "node_lost"


_S = AgentStatus
AGENT_TRANSITIONS: dict[tuple[AgentStatus, AgentVerb], AgentStatus] = {
    **{(state, AgentVerb.START): _S.STARTING for state in (_S.STOPPED, _S.FAILED, _S.QUEUED)},
    **{(state, AgentVerb.QUEUE): _S.QUEUED for state in (_S.STOPPED, _S.FAILED, _S.QUEUED)},
    (_S.QUEUED, AgentVerb.STOP): _S.STOPPED,
    (_S.STARTING, AgentVerb.STARTED): _S.RUNNING,
    (_S.STARTING, AgentVerb.START_FAILED): _S.FAILED,
    (_S.RUNNING, AgentVerb.PAUSE): _S.PAUSED,
    (_S.PAUSED, AgentVerb.RESUME): _S.RUNNING,
    (_S.PAUSED, AgentVerb.START): _S.STARTING,
    (_S.PAUSED, AgentVerb.RESUME_FAILED): _S.FAILED,
    (_S.STARTING, AgentVerb.STOP): _S.STOPPING,
    (_S.RUNNING, AgentVerb.STOP): _S.STOPPING,
    (_S.PAUSED, AgentVerb.STOP): _S.STOPPING,
    (_S.STOPPING, AgentVerb.STOPPED): _S.STOPPED,
    **{(state, AgentVerb.DIED): _S.FAILED for state in (_S.STARTING, _S.RUNNING, _S.PAUSED, _S.STOPPING)},
    **{(state, AgentVerb.NODE_LOST): _S.FAILED for state in (_S.STARTING, _S.RUNNING, _S.STOPPING)},
    (_S.PAUSED, AgentVerb.NODE_LOST): _S.PAUSED,
    (_S.QUEUED, AgentVerb.NODE_LOST): _S.STOPPED,
}
"""The whole state machine: (status, verb) -> status. What is not here is refused with AgentStateError."""


class Isolation(StrEnum):
    """Where an agent's code runs. The last three come with the boxes."""

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"
    BUBBLEWRAP = "bubblewrap"
    GVISOR = "gvisor"
    MICROVM = "microvm"
    AUTO = "auto"


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a failed agent is started again.

    ``mode``: ``on_failure``, ``always`` or ``never``. More than ``max_restarts`` within ``window_seconds`` and it stays
    failed (the intensity rule of OTP's supervisor). Waits grow from ``initial_seconds`` by ``factor`` to ``max_seconds``.
    """

    mode: str = "on_failure"
    max_restarts: int = 5
    window_seconds: float = 60
    initial_seconds: float = 0.1
    factor: float = 2.0
    max_seconds: float = 30.0

    def delay(self, restart: int) -> float:
        """Return the seconds to wait before restart number *restart* (from 0)."""
        return min(self.initial_seconds * self.factor**restart, self.max_seconds)


class AgentInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as the runtime knows it, now. ``error_message`` only when failed; memory in MB, CPU in seconds."""

    agent_id: str
    name: str
    status: AgentStatus
    process_id: int | None = None
    task_id: str | None = None
    created_at: datetime
    updated_at: datetime
    config: dict[str, object] = {}
    error_message: str | None = None
    restart_count: int = 0
    task_ids: tuple[str, ...] = ()
    isolation: str = "inline"
    node_id: str | None = None
    capabilities: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    metadata: dict[str, object] = {}
    queued_reason: str | None = None
    mailbox_size: int = 0
    consecutive_errors: int = 0
    started_at: datetime | None = None
    last_seen: datetime | None = None
    memory_mb: float | None = None
    cpu_seconds: float | None = None
    standby: bool = False


@runtime_checkable
class AgentProtocol(Protocol):
    """The least that takes tasks."""

    async def execute_task(self, task: Task) -> Any:
        """Do the work of *task* and return a JSON value."""
        ...


class BaseAgent:
    """A convenient base for agents; none of it is required but ``execute_task`` or ``on_message``.

    ``config`` is what the agent was registered with. ``agent_id``, ``name`` and ``context`` are set before ``on_start``.
    """

    agent_id: str
    name: str
    context: AgentContext

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config: dict[str, Any] = config or {}

    async def on_start(self) -> None:
        """Get ready. An error makes the agent failed."""

    async def on_stop(self) -> None:
        """Clean up. Runs after every start, also one that failed."""

    async def on_pause(self) -> dict[str, Any]:
        """Return the state that must survive; it is on disk before ``pause_agent`` returns."""
        return {}

    async def on_resume(self, state: dict[str, Any]) -> None:
        """Take up the state that ``on_pause`` returned, or the last ``checkpoint`` outside a task."""

    async def on_error(self, error: BaseException, task: Task | None) -> None:
        """Hear of an error of ``execute_task``."""


AgentSource = type | Callable[..., Any] | Callable[..., Awaitable[Any]] | object
"""A class, an object, a function called with ``(task)`` or ``(task, context)``, or an object with ``chat``."""


AGENT_EVENTS: dict[AgentVerb, EventType] = {
    AgentVerb.QUEUE: EventType.AGENT_QUEUED,
    AgentVerb.STARTED: EventType.AGENT_STARTED,
    AgentVerb.START_FAILED: EventType.AGENT_FAILED,
    AgentVerb.PAUSE: EventType.AGENT_PAUSED,
    AgentVerb.RESUME: EventType.AGENT_RESUMED,
    AgentVerb.RESUME_FAILED: EventType.AGENT_FAILED,
    AgentVerb.STOPPED: EventType.AGENT_STOPPED,
    AgentVerb.DIED: EventType.AGENT_FAILED,
    AgentVerb.NODE_LOST: EventType.AGENT_FAILED,
}
"""The event that each verb writes; START and STOP are only intentions and write none."""
