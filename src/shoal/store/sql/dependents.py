"""What the end of a task means for those that waited for it: they become ready, or they fail with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shoal.errors import DependencyFailedError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import encode
from shoal.kernel.ports import Ended
from shoal.kernel.task import TaskStatus
from shoal.store.sql.transaction import Transaction

__all__ = ["after_failure", "release", "waited_for"]

_EDGES = """SELECT edge.dependency_id, edge.task_id
    FROM json_each(?) AS ended CROSS JOIN task_deps AS edge ON edge.dependency_id = ended.value"""
_FREED = """SELECT edge.task_id, count(*)
    FROM json_each(?) AS ended CROSS JOIN task_deps AS edge ON edge.dependency_id = ended.value GROUP BY edge.task_id"""
# By itself: joined to what is freed, PostgreSQL may walk through all tasks, as long as it knows of few.
_RELEASE = """UPDATE tasks SET
        blockers = blockers - :n,
        ready = CASE WHEN blockers > :n THEN 0 WHEN not_before > :now THEN 2 ELSE 1 END,
        ready_at = CASE WHEN blockers > :n OR not_before > :now THEN NULL ELSE :now END
    WHERE task_id = :task_id AND (ready = 0) IS TRUE
    RETURNING ready"""
# One row for each edge that failure runs along; nearest first, so the first row of a task names its direct cause.
_DOOMED = """WITH RECURSIVE doomed (task_id, cause_id, name) AS (
        SELECT task_id, nullif(task_id, task_id), nullif(name, name) FROM tasks WHERE task_id = ?
        UNION
        SELECT task.task_id, edge.dependency_id, task.name
        FROM doomed
        JOIN task_deps AS edge ON edge.dependency_id = doomed.task_id
        JOIN tasks AS task ON task.task_id = edge.task_id
        WHERE task.ready = 0 AND task.on_dependency_failure = 'fail'
    )
    SELECT task_id, cause_id, name FROM doomed WHERE cause_id IS NOT NULL"""
_FAIL = """UPDATE tasks SET status = 'failed', ready = NULL, completed_at = ?, error_type = 'DependencyFailedError',
    error_message = ?, error_details = ? WHERE task_id = ?"""


def waited_for(cx: Transaction, task_ids: Sequence[str]) -> list[str]:
    """Return those of *task_ids*, which have ended, that others than these depend on, in their order."""
    ended = set(task_ids)
    edges = cx.rows(_EDGES, (encode(task_ids).decode(),))
    found = {dependency_id for dependency_id, task_id in edges if task_id not in ended}
    return [task_id for task_id in task_ids if task_id in found]


def after_failure(cx: Transaction, task_id: str, status: TaskStatus, now: datetime) -> tuple[list[Ended], bool]:
    """Fail all that depend on *task_id*, at any depth; those that run all the same lose one that they wait for.

    Returns those that failed, and whether one became ready.
    """
    if not waited_for(cx, [task_id]):
        return [], False
    causes: dict[str, tuple[str, str]] = {}
    for doomed_id, cause_id, name in cx.rows(_DOOMED, (task_id,)):
        causes.setdefault(doomed_id, (cause_id, name))
    causes.pop(task_id, None)
    _fail(cx, causes, task_id, status, now)
    promoted = release(cx, [task_id, *causes], now)
    return [Ended(doomed_id, TaskStatus.FAILED) for doomed_id in causes], promoted


def _fail(cx: Transaction, causes: dict[str, tuple[str, str]], root_id: str, status: TaskStatus, now: datetime) -> None:
    moment = epoch(now)
    rows = []
    for task_id, (cause_id, name) in causes.items():
        cause_status = str(status if cause_id == root_id else TaskStatus.FAILED)
        message = str(DependencyFailedError(cause_id, cause_status, root_id))
        details: dict[str, object] = {
            "dependency_id": cause_id, "dependency_status": cause_status, "root_id": root_id,
        }  # fmt: skip
        rows.append((moment, message, encode(details).decode(), task_id))
        told = {"name": name, "error_type": "DependencyFailedError", "error_message": message, **details}
        cx.emit(Fact(event_type=EventType.TASK_FAILED, task_id=task_id, details=told), now)
    cx.executemany(_FAIL, rows)
    cx.count(pending=-len(rows), failed=len(rows))


def release(cx: Transaction, ended: Sequence[str], now: datetime) -> bool:
    """Take *ended* off the lists of those that their dependents wait for; tell whether one became ready."""
    freed = cx.rows(_FREED, (encode(ended).decode(),))
    moment = epoch(now)
    rows = cx.each(_RELEASE, [{"task_id": task_id, "n": n, "now": moment} for task_id, n in sorted(freed)])
    promoted = sum(1 for row in rows if row is not None and row[0] == 1)
    cx.count(ready=promoted)
    return promoted > 0
