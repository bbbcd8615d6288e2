"""Tasks as rows and rows as tasks; what every verb checks of the node that writes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import LeaseLostError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import target_of
from shoal.kernel.task import RetryPolicy, Task, TaskStatus

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader

__all__ = ["INSERT_TASK", "TASK_COLUMNS", "check_not_lost", "claimed", "moment", "task_of", "task_row", "text"]

TASK_COLUMNS = """task_id, name, status, priority, input_data, output_data, dependencies, parent_id, root_id, agent,
    capability, "group", assigned_agent_id, created_at, started_at, completed_at, not_before, timeout_seconds,
    max_retries, retry, retry_count, attempt, on_dependency_failure, idempotency_key, metadata, progress, progress_note,
    checkpoint, error_type, error_message, error_details, interruptions, deaths"""

INSERT_TASK = """INSERT INTO tasks (task_id, name, status, ready, ready_at, blockers, target, priority, input_data,
    dependencies, parent_id, root_id, agent, capability, "group", created_at, completed_at, not_before, timeout_seconds,
    max_retries, retry, on_dependency_failure, idempotency_key, metadata, error_type, error_message, error_details,
    attempt, assigned_agent_id, node_id, started_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_STATUS_AT = 2  # status, ready, ready_at: in INSERT_TASK
_NO_RETRY = RetryPolicy()
_STATUS = {str(status): status for status in TaskStatus}


def check_not_lost(cx: Reader, node_id: str | None) -> None:
    """Raise LeaseLostError when the node that writes was given up by the others."""
    if node_id is not None and cx.value("SELECT lost FROM nodes WHERE node_id = ?", (node_id,)):
        raise LeaseLostError(f"node {node_id} has lost its lease: others may be doing its work now")


def text(value: object) -> str | None:
    """Return *value* as JSON text, None for an empty one."""
    return encode(value).decode() if value else None


def moment(time: datetime | None) -> int | None:
    """Return a time as it is stored."""
    return None if time is None else epoch(time)


def task_row(task: Task, *, ready: int | None, blockers: int, now: int) -> list[Any]:
    """Return the parameters of ``INSERT_TASK`` for a task that nobody has claimed."""
    return [
        task.task_id, task.name, str(task.status), ready, now if ready == 1 else None, blockers, target_of(task),
        task.priority, text(task.input_data), text(task.dependencies), task.parent_id, task.root_id, task.agent,
        task.capability, task.group, epoch(task.created_at), moment(task.completed_at), moment(task.not_before),
        task.timeout_seconds, task.max_retries, None if task.retry == _NO_RETRY else text(task.retry),
        task.on_dependency_failure, task.idempotency_key, text(task.metadata), task.error_type, task.error_message,
        text(task.error_details), 0, None, None, None,
    ]  # fmt: skip


def claimed(task: Task, row: list[Any], agent_id: str, node_id: str, now: int) -> Task:
    """Make *row*, the parameters of ``INSERT_TASK`` for *task*, one of a task that is claimed; return it as it is then."""
    now = max(now, row[_STATUS_AT + 2])  # it may have been submitted after the claim was asked for
    row[_STATUS_AT : _STATUS_AT + 3] = (str(TaskStatus.RUNNING), None, None)
    row[-4:] = (1, agent_id, node_id, now)
    return msgspec.structs.replace(
        task,
        status=TaskStatus.RUNNING,
        attempt=1,
        assigned_agent_id=agent_id,
        started_at=from_epoch(now),
        input_data=decode(encode(task.input_data)),  # the agent's own, as if it had been read
        metadata=decode(encode(task.metadata)),
    )


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else from_epoch(micros)


def _retry(raw: str | None) -> RetryPolicy:
    if raw is None:
        return _NO_RETRY
    fields: dict[str, Any] = decode(raw)
    for name in ("retry_on", "never_on"):
        fields[name] = tuple(fields[name])
    return RetryPolicy(**fields)


def task_of(row: tuple[Any, ...]) -> Task:
    """Return the task of a row of ``TASK_COLUMNS``."""
    (
        task_id, name, status, priority, input_data, output_data, dependencies, parent_id, root_id, agent, capability,
        group, assigned_agent_id, created_at, started_at, completed_at, not_before, timeout_seconds, max_retries, retry,
        retry_count, attempt, on_dependency_failure, idempotency_key, metadata, progress, progress_note, checkpoint,
        error_type, error_message, error_details, interruptions, deaths,
    ) = row  # fmt: skip
    return Task(
        task_id=task_id,
        name=name,
        status=_STATUS[status],
        priority=priority,
        input_data=decode(input_data) if input_data else {},
        output_data=decode(output_data) if output_data else None,
        dependencies=tuple(decode(dependencies)) if dependencies else (),
        parent_id=parent_id,
        root_id=root_id,
        agent=agent,
        capability=capability,
        group=group,
        assigned_agent_id=assigned_agent_id,
        created_at=from_epoch(created_at),
        started_at=_time(started_at),
        completed_at=_time(completed_at),
        not_before=_time(not_before),
        timeout_seconds=timeout_seconds,
        max_retries=max_retries,
        retry=_retry(retry),
        retry_count=retry_count,
        attempt=attempt,
        on_dependency_failure=on_dependency_failure,
        idempotency_key=idempotency_key,
        metadata=decode(metadata) if metadata else {},
        progress=progress,
        progress_note=progress_note or "",
        checkpoint=decode(checkpoint) if checkpoint else None,
        error_type=error_type,
        error_message=error_message,
        error_details=decode(error_details) if error_details else {},
        interruptions=interruptions,
        deaths=deaths,
    )
