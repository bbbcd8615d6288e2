"""``Verbs``: what a caller can do in a running node, and from outside of any: one face of ``AgentRuntime`` and ``Client``.

Each verb forwards to the room that carries it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.kernel.event import Event, EventFilter, EventType, Severity
from shoal.kernel.task import QueuePosition, Task, TaskSpec, TaskStatus
from shoal.kernel.tasks import TaskOptions

if TYPE_CHECKING:
    from shoal.kernel.events import Events
    from shoal.kernel.node import Node
    from shoal.kernel.ports import Store
    from shoal.kernel.queue import Queue
    from shoal.kernel.runs import Runs
    from shoal.kernel.tasks import Tasks

__all__ = ["Verbs"]


class Verbs(ABC):
    """Tasks, the queue and events, and who is there."""

    @property
    @abstractmethod
    def _here(self) -> Node:
        """The rooms; raises RuntimeNotStartedError while there are none."""

    # -- nouns

    @property
    def tasks(self) -> Tasks:
        """The verbs on tasks."""
        return self._here.tasks

    @property
    def queue(self) -> Queue:
        """The verbs on the queue."""
        return self._here.queue

    @property
    def events(self) -> Events:
        """The verbs on events."""
        return self._here.events

    @property
    def runs(self) -> Runs:
        """The verbs on runs."""
        return self._here.runs

    @property
    def store(self) -> Store:
        """The store that is open here."""
        return self._here.env.store

    # -- who is there

    def get_agent_status(self, agent_id: str) -> AgentInstance:
        """Return what is known of an agent, by id or unique name."""
        return self._here.agents.get(agent_id)

    def list_agents(
        self, status: AgentStatus | str | None = None, capability: str | None = None, group: str | None = None
    ) -> list[AgentInstance]:
        """Return agents in order of registration."""
        return self._here.agents.search(status, capability, group)

    # -- tasks

    async def submit_task(
        self,
        name: str,
        input_data: dict[str, Any] | None = None,
        priority: int | str = 50,
        dependencies: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
        max_retries: int = 0,
        **options: Unpack[TaskOptions],
    ) -> str:
        """Store a task and return its id; when this returns, the task is on disk and will be executed.

        Args:
            name: 1 to 200 characters.
            input_data: a JSON object, at most ``max_payload_mb`` encoded.
            priority: 0 (first) to 100, or high, medium, low.
            dependencies: ids of tasks that must complete first.
            timeout_seconds: for each attempt; default ``ResourceLimit.task_timeout_seconds``.
            max_retries: how often it is tried again after an error.
            options: at most one target of agent, capability, group (none: any running agent); on_dependency_failure,
                retry, idempotency_key, not_before or delay_seconds, metadata.

        Raises:
            QueueFullError, AgentNotFoundError (target), TaskNotFoundError (dependency), PayloadError,
            IdempotencyConflictError, ValueError. Nothing was stored then.
        """
        return await self._here.tasks.submit(
            name, input_data, priority, dependencies, timeout_seconds, max_retries, **options
        )

    async def submit_tasks(self, specs: Sequence[TaskSpec]) -> list[str]:
        """Store several tasks in one transaction, all or none, and return their ids."""
        return await self._here.tasks.submit_many(specs)

    async def cancel_task(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task; True when it ended as cancelled, False when it had already ended."""
        return await self._here.tasks.cancel(task_id, reason)

    def get_task_status(self, task_id: str) -> Task:
        """Return a task as it is stored."""
        return self._here.tasks.get(task_id)

    def list_tasks(
        self,
        status: TaskStatus | str | None = None,
        limit: int = 100,
        name: str | None = None,
        agent_id: str | None = None,
    ) -> list[Task]:
        """Return tasks, newest first."""
        return self._here.tasks.search(status, limit, name, agent_id)

    async def wait_for_task(self, task_id: str, timeout_seconds: float | None = None) -> Task:
        """Wait until a task has ended, whichever way, and return it. Raises WaitTimeoutError."""
        return await self._here.tasks.wait(task_id, timeout_seconds)

    async def wait_for_tasks(
        self,
        task_ids: Sequence[str],
        timeout_seconds: float | None = None,
        return_when: Literal["all", "any", "failure"] = "all",
    ) -> list[Task]:
        """Wait for all, any, or the first that did not complete; return those that have ended."""
        return await self._here.tasks.wait_many(task_ids, timeout_seconds, return_when)

    def as_completed(self, task_ids: Sequence[str], timeout_seconds: float | None = None) -> AsyncIterator[Task]:
        """Yield tasks as they end. Raises WaitTimeoutError."""
        return self._here.tasks.as_completed(task_ids, timeout_seconds)

    # -- the queue

    async def pause_queue(self) -> None:
        """Let no task be claimed on any node, also after a restart, until ``resume_queue``."""
        await self._here.queue.pause()

    async def resume_queue(self) -> None:
        """Let tasks be claimed again."""
        await self._here.queue.resume()

    def get_queue_status(self) -> dict[str, int | bool | None]:
        """Return how many tasks stand where."""
        return self._here.queue.status()

    def get_queue_position(self, task_id: str) -> QueuePosition:
        """Return where a pending task stands, and why it does not run yet."""
        return self._here.queue.position(task_id)

    # -- events

    def query_events(
        self,
        event_type: EventType | str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        severity: Severity | str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        filters: EventFilter | None = None,
    ) -> list[Event]:
        """Return up to *limit* events, newest first; every argument that is given must match."""
        return self._here.events.query(event_type, agent_id, task_id, severity, since, limit, filters)

    async def export_events(
        self, output_path: str | Path, format: str = "jsonl", filters: EventFilter | None = None
    ) -> int:
        """Write all matching events to a file (jsonl, csv or json) and return how many."""
        return await self._here.events.export(output_path, format, filters)

    def follow_events(self, after_id: int | None = None, filters: EventFilter | None = None) -> AsyncIterator[Event]:
        """Yield events as they come, without gap or double; None = from now on."""
        return self._here.events.follow(after_id, filters)
