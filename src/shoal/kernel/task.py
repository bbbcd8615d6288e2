"""Tasks: durable units of work, and what may become of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from shoal.errors import (
    DependencyFailedError,
    ShoalError,
    TaskCancelledError,
    TaskFailedError,
    TaskInterruptedError,
    TaskTimeoutError,
)

__all__ = [
    "PRIORITIES", "TRANSITIONS", "QueuePosition", "RetryPolicy", "Task", "TaskSpec", "TaskStatus", "completed",
    "parse_priority",
]  # fmt: skip


class TaskStatus(StrEnum):
    """Where a task stands. A final status never changes."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Tell whether nothing more will happen."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


TRANSITIONS: dict[tuple[TaskStatus | None, str], TaskStatus] = {
    (None, "submit"): TaskStatus.PENDING,
    (None, "submit_after_failed_dependency"): TaskStatus.FAILED,
    (TaskStatus.PENDING, "claim"): TaskStatus.RUNNING,
    (TaskStatus.PENDING, "cancel"): TaskStatus.CANCELLED,
    (TaskStatus.PENDING, "dependency_failed"): TaskStatus.FAILED,
    (TaskStatus.RUNNING, "complete"): TaskStatus.COMPLETED,
    (TaskStatus.RUNNING, "retry"): TaskStatus.PENDING,
    (TaskStatus.RUNNING, "fail"): TaskStatus.FAILED,
    (TaskStatus.RUNNING, "cancel"): TaskStatus.CANCELLED,
    (TaskStatus.RUNNING, "interrupt"): TaskStatus.PENDING,
}
"""The whole state machine: (status, verb) -> status. What is not here has no effect."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a failed attempt is repeated. Wait n (from 0): ``initial × factor^n`` up to ``max_seconds``, ± ``jitter``.

    ``retry_on`` and ``never_on`` are names of error classes; an empty ``retry_on`` means all.
    """

    max_retries: int = 0
    initial_seconds: float = 0.5
    factor: float = 2.0
    max_seconds: float = 60.0
    jitter: float = 0.1
    retry_on: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()

    def delay(self, retry: int, chance: float) -> float:
        """Return the seconds to wait before retry number *retry* (from 0); *chance* is a random number in [0, 1)."""
        try:
            wait = min(self.initial_seconds * self.factor**retry, self.max_seconds)
        except OverflowError:
            wait = self.max_seconds
        return wait * (1 + self.jitter * (2 * chance - 1))

    def allows(self, error_types: Sequence[str], retries_used: int) -> bool:
        """Tell whether an error whose class and bases are named *error_types* is tried again."""
        if retries_used >= self.max_retries or any(name in self.never_on for name in error_types):
            return False
        return not self.retry_on or any(name in self.retry_on for name in error_types)

    def validate(self) -> None:
        """Raise ValueError naming the first field out of its bounds."""
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool) or self.max_retries < 0:
            raise ValueError(f"max_retries must be a whole number from 0, not {self.max_retries!r:.80}")
        for field, least in (("initial_seconds", 0.0), ("factor", 1.0), ("max_seconds", 0.0), ("jitter", 0.0)):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
                raise ValueError(f"retry.{field} must be at least {least:g}, not {value!r:.80}")
        if self.jitter > 1:
            raise ValueError(f"retry.jitter must be at most 1, not {self.jitter!r}")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the store knows it. ``attempt`` counts executions, ``retry_count`` those after an error."""

    task_id: str
    name: str
    status: TaskStatus = TaskStatus.PENDING
    priority: int = 50
    input_data: dict[str, Any] = {}
    output_data: Any = None
    dependencies: tuple[str, ...] = ()
    parent_id: str | None = None
    root_id: str | None = None
    agent: str | None = None
    capability: str | None = None
    group: str | None = None
    assigned_agent_id: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    not_before: datetime | None = None
    timeout_seconds: float | None = None
    max_retries: int = 0
    retry: RetryPolicy = RetryPolicy()
    retry_count: int = 0
    attempt: int = 0
    on_dependency_failure: str = "fail"
    idempotency_key: str | None = None
    metadata: dict[str, Any] = {}
    progress: float | None = None
    progress_note: str = ""
    checkpoint: dict[str, Any] | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_details: dict[str, object] = {}
    interruptions: int = 0
    deaths: int = 0

    @property
    def done(self) -> bool:
        """Tell whether the task has ended, one way or another."""
        return self.status.final

    def result(self) -> Any:
        """Return ``output_data`` of a completed task.

        Raises:
            TaskFailedError, or the Shoal error that ended it (TaskTimeoutError, DependencyFailedError …).
            TaskCancelledError: it was cancelled.
            RuntimeError: it has not ended.
        """
        if self.status is TaskStatus.COMPLETED:
            return self.output_data
        if self.status is TaskStatus.CANCELLED:
            raise TaskCancelledError(self.error_message, task_id=self.task_id)
        if self.status is TaskStatus.FAILED:
            raise self._error()
        raise RuntimeError(f"Task {self.task_id} is {self.status}; wait for it first")

    def _error(self) -> ShoalError:
        details = self.error_details
        if self.error_type == "TaskTimeoutError":
            return TaskTimeoutError(self.timeout_seconds, task_id=self.task_id)
        if self.error_type == "TaskInterruptedError":
            return TaskInterruptedError(self.error_message or "", task_id=self.task_id)
        if self.error_type == "DependencyFailedError":
            return DependencyFailedError(
                str(details.get("dependency_id")),
                str(details.get("dependency_status")),
                str(details.get("root_id")),
                task_id=self.task_id,
            )
        return TaskFailedError(self.error_type or "Exception", self.error_message or "", task_id=self.task_id)


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a batch for ``submit_tasks``. ``key`` is a name for dependencies inside the batch."""

    name: str
    input_data: dict[str, object] | None = None
    priority: int | str = 50
    dependencies: Sequence[str] = ()
    timeout_seconds: float | None = None
    max_retries: int = 0
    agent: str | None = None
    capability: str | None = None
    group: str | None = None
    on_dependency_failure: str = "fail"
    retry: RetryPolicy | None = None
    idempotency_key: str | None = None
    not_before: datetime | None = None
    delay_seconds: float | None = None
    metadata: Mapping[str, object] = {}
    key: str | None = None


class QueuePosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pending task stands: ``position`` 1 is next. ``eta_seconds`` is None without history.

    ``reason``: ready, dependencies, not_before, retry_wait, no_agent, agent_paused or queue_paused.
    """

    position: int
    ahead: int
    eta_seconds: float | None
    reason: str
    blocked_by: tuple[str, ...] = ()


PRIORITIES = {"high": 0, "medium": 50, "low": 100}


def parse_priority(priority: object) -> int:
    """Return *priority* as a number from 0 (first) to 100.

    Raises:
        ValueError: it is neither such a whole number nor high, medium or low.
    """
    if isinstance(priority, str) and priority in PRIORITIES:
        return PRIORITIES[priority]
    if isinstance(priority, int) and not isinstance(priority, bool) and 0 <= priority <= 100:
        return priority
    raise ValueError(f"priority must be 0 to 100, or high, medium, low, not {priority!r:.80}")


def completed(task: Task, output: object, at: datetime) -> Task:
    """Return a task that was claimed as it is stored once it has completed with *output*."""
    ended = {"status": TaskStatus.COMPLETED, "output_data": output, "completed_at": at}
    return msgspec.structs.replace(task, **ended, error_type=None, error_message=None, error_details={})
