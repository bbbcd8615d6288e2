"""Errors of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.root import ShoalError

__all__ = [
    "CyclicDependencyError",
    "DependencyFailedError",
    "IdempotencyConflictError",
    "TaskCancelledError",
    "TaskError",
    "TaskFailedError",
    "TaskInterruptedError",
    "TaskNotFoundError",
    "TaskTimeoutError",
    "WaitTimeoutError",
]


class TaskError(ShoalError):
    """Something about one task."""

    def __init__(self, text: str, *, task_id: str | None = None, note: str | None = None) -> None:
        self.task_id = task_id
        super().__init__(text, note=note)


class TaskNotFoundError(TaskError, ValueError, LookupError):
    """No task has this id (or retention has removed it)."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id[:80]!r} not found", task_id=task_id)


class TaskTimeoutError(TaskError, TimeoutError):
    """One attempt took longer than ``timeout_seconds``."""

    def __init__(self, timeout_seconds: float | None = None, *, task_id: str | None = None) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(
            "Task execution timeout",
            task_id=task_id,
            note=f"The attempt had {timeout_seconds:g} s; pass timeout_seconds= or raise "
            "ResourceLimit.task_timeout_seconds."
            if timeout_seconds is not None
            else None,
        )


class TaskFailedError(TaskError, RuntimeError):
    """The task ended as failed. ``error_type`` and ``error_message`` are what the agent raised."""

    def __init__(self, error_type: str, error_message: str, *, task_id: str | None = None) -> None:
        self.error_type = error_type
        self.error_message = error_message
        super().__init__(f"Task failed: {error_type}: {error_message}", task_id=task_id)


class TaskCancelledError(TaskError, RuntimeError):
    """The task ended as cancelled."""

    def __init__(self, reason: str | None = None, *, task_id: str | None = None) -> None:
        self.reason = reason
        super().__init__(f"Task cancelled: {reason}" if reason else "Task cancelled", task_id=task_id)


class TaskInterruptedError(TaskError, RuntimeError):
    """The attempt was cut short: its node or runtime ended. An agent may raise it to be run again later."""

    def __init__(self, text: str = "Task interrupted", *, task_id: str | None = None) -> None:
        super().__init__(text, task_id=task_id)


class DependencyFailedError(TaskError, RuntimeError):
    """A task that this one waited for failed or was cancelled."""

    def __init__(
        self,
        dependency_id: str,
        dependency_status: str,
        root_id: str | None = None,
        *,
        task_id: str | None = None,
    ) -> None:
        self.dependency_id = dependency_id
        self.dependency_status = dependency_status
        self.root_id = root_id or dependency_id
        root = "" if self.root_id == dependency_id else f" (first cause: {self.root_id})"
        super().__init__(f"Dependency {dependency_id} {dependency_status}{root}", task_id=task_id)


class CyclicDependencyError(TaskError, ValueError):
    """Tasks of one batch wait for each other in a circle."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle: tuple[str, ...] = tuple(cycle)
        super().__init__(f"Cyclic dependency: {' -> '.join(self.cycle)}")


class IdempotencyConflictError(TaskError, ValueError):
    """The idempotency key belongs to a task with another name or input."""

    def __init__(self, key: str, *, task_id: str) -> None:
        self.key = key
        super().__init__(
            f"Idempotency key {key[:80]!r} belongs to task {task_id}, which has another name or input",
            task_id=task_id,
        )


class WaitTimeoutError(TaskError, TimeoutError):
    """The wait ended before the tasks did; they go on. ``pending`` names those not yet done."""

    def __init__(self, pending: Sequence[str], timeout_seconds: float | None = None) -> None:
        self.pending: tuple[str, ...] = tuple(pending)
        after = "" if timeout_seconds is None else f" after {timeout_seconds:g} s"
        super().__init__(
            f"{len(self.pending)} task(s) not done{after}",
            task_id=self.pending[0] if len(self.pending) == 1 else None,
            note="The tasks go on; wait again with the same ids.",
        )
