"""New tasks: check the whole batch, then store it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from shoal.errors import (
    CyclicDependencyError,
    DependencyFailedError,
    IdempotencyConflictError,
    QueueFullError,
    TaskNotFoundError,
)
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import decode, encode
from shoal.kernel.task import Task, TaskStatus
from shoal.store.sql.records import INSERT_TASK, task_row
from shoal.store.sql.transaction import Refusal, Row, Sole, Transaction

__all__ = ["enqueue", "enqueue_alone"]

_BY_KEY = """SELECT idempotency_key, task_id, name, input_data FROM tasks
    WHERE idempotency_key IN (SELECT value FROM json_each(?))"""
_STANDING = """SELECT task_id, status, error_type, error_details FROM tasks
    WHERE task_id IN (SELECT value FROM json_each(?))"""
_ROOM = "SELECT 1 FROM task_counts WHERE pending + ? <= ?"
_INSERT_EDGE = "INSERT INTO task_deps (dependency_id, task_id) VALUES (?, ?)"


class _Standing(msgspec.Struct, frozen=True):
    """Where a dependency stands, and what it failed of first."""

    status: TaskStatus
    root_id: str


def enqueue(cx: Transaction, tasks: Sequence[Task], now: datetime, max_pending: int | None) -> list[str] | Refusal:
    """Store *tasks*, all or none; see ``TaskStore.enqueue``."""
    known = _known(cx, tasks)
    new = [task for task in tasks if task.task_id not in known]
    if known:
        new = [_redirected(task, known) for task in new]
    standing: dict[str, _Standing] = {}
    order: Iterable[Task] = new
    if any(task.dependencies or task.parent_id for task in new):
        standing = _dependencies(cx, new)
        order = _in_order(new)
    if max_pending is not None and (pending := cx.counts()["pending"]) + len(new) > max_pending:
        details: dict[str, object] = {"max_size": max_pending, "pending_count": pending, "refused_count": len(new)}
        cx.emit(Fact(event_type=EventType.QUEUE_FULL, details=details), now)
        return Refusal(QueueFullError("tasks", max_pending))
    decided = {task.task_id: _decide(task, standing, now) for task in order}
    _store(cx, [decided[task.task_id] for task in new], standing, now)
    return [known.get(task.task_id, task.task_id) for task in tasks]


def enqueue_alone(
    cx: Transaction, found: Sequence[Row], tasks: Sequence[Task], now: datetime, max_pending: int | None
) -> Sole | None:
    """Store tasks that need no look at others, when there is room for them."""
    if any(task.dependencies or task.parent_id or task.idempotency_key is not None for task in tasks):
        return None
    held = None if max_pending is None else (_ROOM, (len(tasks), max_pending))
    return Sole(enqueue(cx, tasks, now, None), held)


def _known(cx: Transaction, tasks: Sequence[Task]) -> dict[str, str]:
    """Return for each task whose key is taken the id of the first one with it."""
    keys = [task.idempotency_key for task in tasks if task.idempotency_key is not None]
    if not keys:
        return {}
    known: dict[str, str] = {}
    keyed = {key: (task_id, name, data or "{}") for key, task_id, name, data in cx.rows(_BY_KEY, (_listed(keys),))}
    for task in tasks:
        key = task.idempotency_key
        if key is None:
            continue
        found = keyed.get(key)
        if found is None:
            keyed[key] = (task.task_id, task.name, encode(task.input_data).decode())
            continue
        if found[1] != task.name or decode(found[2]) != decode(encode(task.input_data)):
            raise IdempotencyConflictError(key, task_id=found[0])
        known[task.task_id] = found[0]
    return known


def _listed(words: Iterable[str]) -> str:
    return encode(list(words)).decode()


def _redirected(task: Task, known: dict[str, str]) -> Task:
    """Return the task waiting for the first ones instead of those that are not stored again."""
    if not any(task_id in known for task_id in task.dependencies):
        return task
    redirected = dict.fromkeys(known.get(task_id, task_id) for task_id in task.dependencies)
    return msgspec.structs.replace(task, dependencies=tuple(redirected))


def _dependencies(cx: Transaction, new: Sequence[Task]) -> dict[str, _Standing]:
    """Return where each stored dependency stands; raise for unknown ones and parents."""
    batch = {task.task_id for task in new}
    asked = dict.fromkeys(
        task_id
        for task in new
        for task_id in (*task.dependencies, *((task.parent_id,) if task.parent_id else ()))
        if task_id not in batch
    )
    standing: dict[str, _Standing] = {}
    for task_id, status, error_type, error_details in cx.rows(_STANDING, (_listed(asked),)) if asked else ():
        failed_before = error_type == "DependencyFailedError"
        root_id = decode(error_details)["root_id"] if failed_before else task_id
        standing[task_id] = _Standing(TaskStatus(status), root_id)
    for task_id in asked:
        if task_id not in standing:
            raise TaskNotFoundError(task_id)
    return standing


def _in_order(new: Sequence[Task]) -> list[Task]:
    """Return the batch with every task after those it waits for (Kahn 1962). Raises CyclicDependencyError."""
    batch = {task.task_id: task for task in new}
    waits = {task.task_id: {other for other in task.dependencies if other in batch} for task in new}
    dependents: dict[str, list[str]] = {}
    for task_id, others in waits.items():
        for other in others:
            dependents.setdefault(other, []).append(task_id)
    free = [task_id for task_id, others in waits.items() if not others]
    order = []
    while free:
        task_id = free.pop()
        order.append(batch[task_id])
        del waits[task_id]
        for dependent in dependents.get(task_id, ()):
            waits[dependent].discard(task_id)
            if not waits[dependent]:
                free.append(dependent)
    if waits:
        raise CyclicDependencyError(_cycle(waits))
    return order


def _cycle(waits: dict[str, set[str]]) -> list[str]:
    """Walk along what is left, where every task waits for another, until one comes twice."""
    path: dict[str, None] = {}
    task_id = next(iter(waits))
    while task_id not in path:
        path[task_id] = None
        task_id = min(waits[task_id])
    walked = list(path)
    return [*walked[walked.index(task_id) :], task_id]


def _decide(task: Task, standing: dict[str, _Standing], now: datetime) -> Task:
    """Return the task as it is stored: failed at once if it waits for one that failed. Notes it in *standing*."""
    if task.on_dependency_failure == "fail":
        for task_id in task.dependencies:
            cause = standing[task_id]
            if cause.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
                continue
            standing[task.task_id] = _Standing(TaskStatus.FAILED, cause.root_id)
            details: dict[str, object] = {
                "dependency_id": task_id, "dependency_status": str(cause.status), "root_id": cause.root_id,
            }  # fmt: skip
            return msgspec.structs.replace(
                task,
                status=TaskStatus.FAILED,
                completed_at=now,
                error_type="DependencyFailedError",
                error_message=str(DependencyFailedError(task_id, str(cause.status), cause.root_id)),
                error_details=details,
            )
    standing[task.task_id] = _Standing(TaskStatus.PENDING, task.task_id)
    return task


def _store(cx: Transaction, tasks: Sequence[Task], standing: dict[str, _Standing], now: datetime) -> None:
    moment = epoch(now)
    rows = []
    edges: list[tuple[str, str]] = []
    ready_count = failed_count = 0
    for task in tasks:
        waits = dict.fromkeys(task.dependencies)
        edges += [(other, task.task_id) for other in waits]
        blockers = sum(1 for other in waits if not standing[other].status.final)
        ready: int | None
        if task.status is TaskStatus.FAILED:
            ready = None
            failed_count += 1
        elif blockers:
            ready = 0
        elif task.not_before is not None and task.not_before > now:
            ready = 2
        else:
            ready = 1
            ready_count += 1
        rows.append(task_row(task, ready=ready, blockers=blockers, now=moment))
        _tell(cx, task, now)
    if ready_count == len(tasks) and not edges:
        cx.new.offer(INSERT_TASK, rows, list(zip(tasks, rows, strict=True)))
    else:
        cx.new.insert(INSERT_TASK, rows)
        cx.new.insert(_INSERT_EDGE, edges)
    if any(task.idempotency_key is not None for task in tasks):
        cx.new.write()  # for a key that another node writes, one waits now, not while all others wait for the commit
    cx.count(pending=len(tasks) - failed_count, ready=ready_count, failed=failed_count)


def _tell(cx: Transaction, task: Task, now: datetime) -> None:
    details: dict[str, object] = {"name": task.name, "priority": task.priority}
    cx.emit(Fact(event_type=EventType.TASK_ENQUEUED, agent_id=task.agent, task_id=task.task_id, details=details), now)
    if task.status is TaskStatus.FAILED:
        told: dict[str, object] = {
            "name": task.name, "error_type": task.error_type, "error_message": task.error_message, **task.error_details,
        }  # fmt: skip
        cx.emit(Fact(event_type=EventType.TASK_FAILED, agent_id=task.agent, task_id=task.task_id, details=told), now)
