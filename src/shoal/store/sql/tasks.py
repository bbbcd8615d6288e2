"""Tasks: the queue and its history."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence, Set
from datetime import datetime

from shoal.errors import LeaseLostError, TaskNotFoundError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import encode
from shoal.kernel.ports import Bell, Cancelled, Claim, Fence, QueueState, Settled, Settlement
from shoal.kernel.room import Room
from shoal.kernel.task import QueuePosition, Task, TaskStatus
from shoal.store.sql.claim import claim
from shoal.store.sql.database import Database
from shoal.store.sql.enqueue import enqueue
from shoal.store.sql.records import TASK_COLUMNS, task_of
from shoal.store.sql.settle import cancel, settle
from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlTasks", "check_fence", "check_fences", "checkpoint", "progress", "prune_tasks"]

_FENCE = "task_id = :task_id AND (status = 'running') IS TRUE AND node_id = :node_id AND attempt = :attempt"
_HOLDS = f"SELECT assigned_agent_id FROM tasks WHERE {_FENCE}"
_HELD = """SELECT task_id, node_id, attempt FROM tasks
    WHERE task_id IN (SELECT value FROM json_each(?)) AND (status = 'running') IS TRUE"""
_PROGRESS = "UPDATE tasks SET progress = ?, progress_note = ? WHERE task_id = ?"
_CHECKPOINT = "UPDATE tasks SET checkpoint = ?, deaths = 0, interruptions = 0 WHERE task_id = ?"
_PAUSED = "SELECT value FROM meta WHERE key = 'queue_paused'"
_PAUSE = (
    "INSERT INTO meta (key, value) VALUES ('queue_paused', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_QUEUE = """WITH RECURSIVE word (target) AS (
        SELECT min(target) FROM tasks WHERE ready = 1
        UNION ALL
        SELECT (SELECT min(target) FROM tasks WHERE ready = 1 AND target > word.target)
        FROM word WHERE word.target IS NOT NULL
    ), oldest (ready_at) AS (
        SELECT (SELECT ready_at FROM tasks INDEXED BY tasks_oldest WHERE ready = 1 AND target = word.target
                ORDER BY ready_at, seq LIMIT 1) FROM word
        UNION ALL
        SELECT min(not_before) FROM tasks WHERE ready = 2 AND not_before <= ?
    )
    SELECT (SELECT value FROM meta WHERE key = 'queue_paused'), min(ready_at) FROM oldest"""
_UNROUTED = """WITH RECURSIVE word (target) AS (
        SELECT min(target) FROM tasks WHERE ready = 1 AND unroutable IS NULL AND agent IS NULL AND target > ''
        UNION ALL
        SELECT (SELECT min(target) FROM tasks
                WHERE ready = 1 AND unroutable IS NULL AND agent IS NULL AND target > word.target)
        FROM word WHERE word.target IS NOT NULL
    )
    SELECT target FROM word WHERE target IS NOT NULL"""
_MARK_UNROUTABLE = """UPDATE tasks SET unroutable = 1
    WHERE ready = 1 AND unroutable IS NULL AND agent IS NULL AND target > '' AND target = ? RETURNING task_id, name"""
_GET = f"SELECT {TASK_COLUMNS} FROM tasks WHERE task_id = ?"
_FIND = f"SELECT {TASK_COLUMNS} FROM tasks WHERE task_id IN (SELECT value FROM json_each(?))"
_PLACE = "SELECT status, ready, priority, seq, not_before, retry_count FROM tasks WHERE task_id = ?"
_AHEAD = "SELECT count(*) FROM tasks WHERE ready = 1 AND (priority < :priority OR priority = :priority AND seq < :seq)"
_DUE_AHEAD = """SELECT count(*) FROM tasks WHERE ready = 2 AND not_before <= :now
    AND (priority < :priority OR priority = :priority AND seq < :seq)"""
_OF_TARGETS = " AND target IN (SELECT value FROM json_each(:targets))"
_BLOCKED_BY = """SELECT other.task_id FROM task_deps AS edge JOIN tasks AS other ON other.task_id = edge.dependency_id
    WHERE edge.task_id = ? AND other.status IN ('pending', 'running') ORDER BY other.seq"""
_DURATIONS = """SELECT CAST(completed_at - started_at AS DOUBLE PRECISION) / 1000000 FROM tasks
    WHERE target = ? AND completed_at IS NOT NULL AND status = 'completed' ORDER BY completed_at DESC LIMIT ?"""
_PRUNABLE = """WITH RECURSIVE word (target) AS (
        SELECT min(target) FROM tasks WHERE completed_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(target) FROM tasks WHERE completed_at IS NOT NULL AND target > word.target)
        FROM word WHERE word.target IS NOT NULL
    )
    SELECT task.task_id, task.status FROM word CROSS JOIN tasks AS task INDEXED BY tasks_finished ON true
    WHERE task.target = word.target AND task.completed_at < :before AND NOT EXISTS (
        SELECT 1 FROM task_deps AS edge JOIN tasks AS other ON other.task_id = edge.task_id
        WHERE edge.dependency_id = task.task_id AND other.status IN ('pending', 'running'))
    LIMIT :limit"""
_CLAIMABLE = """SELECT 1 WHERE (SELECT ready FROM task_counts) > 0
    OR EXISTS (SELECT 1 FROM tasks WHERE ready = 2 AND not_before <= ?)"""
_PRUNE = (
    "DELETE FROM task_deps WHERE task_id = ?",
    "DELETE FROM task_deps WHERE dependency_id = ?",
    "DELETE FROM steps WHERE scope = 'task:' || ?",
    "DELETE FROM tasks WHERE task_id = ?",
)


class SqlTasks:
    """``TaskStore`` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def enqueue(
        self, tasks: Sequence[Task], *, now: datetime, max_pending: int | None, bell: Bell | None = None
    ) -> Awaitable[list[str]]:
        """Store new tasks, all or none."""
        return self._db.write(enqueue, tasks, now, max_pending, bell=bell)

    def claim(
        self,
        node_id: str,
        room: Room,
        *,
        now: datetime,
        starved_before: datetime | None = None,
        waited: Sequence[Fence] = (),
    ) -> Awaitable[list[Claim]]:
        """Give ready tasks to free lanes."""
        return self._db.write(claim, node_id, room, now, starved_before, waited)

    def settle(self, settlement: Settlement, *, now: datetime, bell: Bell | None = None) -> Awaitable[Settled]:
        """End one attempt."""
        return self._db.write(settle, settlement, now, bell=bell)

    def cancel(self, task_id: str, reason: str | None, *, now: datetime) -> Awaitable[Cancelled]:
        """End a task and its children as cancelled."""
        return self._db.write(cancel, task_id, reason, now)

    def progress(self, fence: Fence, fraction: float, note: str, *, now: datetime) -> Awaitable[None]:
        """Keep the progress of a running task."""
        return self._db.write(progress, fence, fraction, note, now)

    def checkpoint(self, fence: Fence, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep the state that the next attempt will find."""
        return self._db.write(checkpoint, fence, state, now)

    def pause_queue(self, paused: bool, *, now: datetime) -> Awaitable[bool]:
        """Pause or resume claims on every node."""
        return self._db.write(_pause_queue, paused, now)

    def unroutable(self, known_targets: Sequence[str], *, now: datetime) -> Awaitable[int]:
        """Write ``task_unroutable`` once for each ready task that nobody can take."""
        return self._db.write(_unroutable, frozenset(known_targets), now)

    # readers

    def get(self, task_id: str) -> Task:
        """Return the task. Raises TaskNotFoundError."""
        row = self._db.read(Reader.one, _GET, (task_id,))
        if row is None:
            raise TaskNotFoundError(task_id)
        return task_of(row)

    async def find(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of *task_ids* that exist, by id; the loop goes on meanwhile."""
        rows = await self._db.read_soon(Reader.rows, _FIND, (encode(list(task_ids)).decode(),))
        return {row[0]: task_of(row) for row in rows}

    def search(
        self,
        *,
        status: TaskStatus | None = None,
        limit: int = 100,
        name: str | None = None,
        agent_id: str | None = None,
    ) -> list[Task]:
        """Return tasks, newest first."""
        wanted = {"status": status and str(status), "name": name, "assigned_agent_id": agent_id}
        chosen = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(f"{column} = :{column}" for column in chosen) or "true"
        sql = f"SELECT {TASK_COLUMNS} FROM tasks WHERE {where} ORDER BY seq DESC LIMIT :limit"
        return [task_of(row) for row in self._db.read(Reader.rows, sql, {**chosen, "limit": limit})]

    def counts(self) -> dict[str, int]:
        """Return pending, running, completed, failed, cancelled, ready and blocked."""
        counts = self._db.read(Reader.counts)
        return {**counts, "blocked": counts["pending"] - counts["ready"]}

    def claimable(self, *, now: datetime) -> bool:
        """Tell whether some task is ready now."""
        return self._db.read(Reader.value, _CLAIMABLE, (epoch(now),)) is not None

    def queue(self, *, now: datetime) -> QueueState:
        """Return whether claims are paused, and since when the oldest ready task is ready."""
        ((paused, ready_at),) = self._db.read(Reader.rows, _QUEUE, (epoch(now),))
        return QueueState(paused == "1", None if ready_at is None else from_epoch(ready_at))

    def position(self, task_id: str, *, now: datetime, targets: Sequence[str] | None = None) -> QueuePosition:
        """Return where a pending task stands."""
        return self._db.read(_position, task_id, now, targets)

    def durations(self, target: str, limit: int = 100) -> Sequence[float]:
        """Return the durations in seconds of the last *limit* completed tasks with that target word."""
        return [row[0] for row in self._db.read(Reader.rows, _DURATIONS, (target, limit))]


def check_fences(cx: Transaction, fences: Set[Fence]) -> None:
    """Raise LeaseLostError when one of these attempts is no longer the present one."""
    if fences:
        held = cx.rows(_HELD, (encode(sorted({fence.task_id for fence in fences})).decode(),))
        for fence in fences - {Fence(*row) for row in held}:
            check_fence(cx, fence)


def check_fence(cx: Transaction, fence: Fence) -> str:
    """Return the agent that runs this attempt. Raises LeaseLostError when it is no longer the present one."""
    row = cx.one(_HOLDS, {"task_id": fence.task_id, "node_id": fence.node_id, "attempt": fence.attempt})
    if row is None:
        raise LeaseLostError(f"attempt {fence.attempt} of task {fence.task_id} on node {fence.node_id} is over")
    return str(row[0])


def progress(cx: Transaction, fence: Fence, fraction: float, note: str, now: datetime) -> None:
    """Keep the progress of a running task."""
    agent_id = check_fence(cx, fence)
    cx.execute(_PROGRESS, (fraction, note, fence.task_id))
    _tell(cx, EventType.TASK_PROGRESS, fence, agent_id, {"fraction": fraction, "note": note}, now)


def checkpoint(cx: Transaction, fence: Fence, state: dict[str, object], now: datetime) -> None:
    """Keep the state that the next attempt will find."""
    agent_id = check_fence(cx, fence)
    raw = encode(state).decode()
    cx.execute(_CHECKPOINT, (raw, fence.task_id))
    _tell(cx, EventType.TASK_CHECKPOINTED, fence, agent_id, {"size_bytes": len(raw.encode())}, now)


def _tell(
    cx: Transaction, kind: EventType, fence: Fence, agent_id: str, details: dict[str, object], now: datetime
) -> None:
    told = {"attempt": fence.attempt, **details}
    cx.emit(Fact(event_type=kind, agent_id=agent_id, task_id=fence.task_id, node_id=fence.node_id, details=told), now)


def _pause_queue(cx: Transaction, paused: bool, now: datetime) -> bool:
    if (cx.value(_PAUSED) == "1") == paused:
        return False
    cx.execute(_PAUSE, ("1" if paused else "0",))
    cx.emit(Fact(event_type=EventType.QUEUE_PAUSED if paused else EventType.QUEUE_RESUMED), now)
    return True


def _unroutable(cx: Transaction, known: frozenset[str], now: datetime) -> int:
    told = 0
    for (target,) in cx.rows(_UNROUTED):
        if target in known:
            continue
        kind, _, word = target.partition(":")
        for task_id, name in cx.rows(_MARK_UNROUTABLE, (target,)):
            details: dict[str, object] = {"name": name, kind: word}
            cx.emit(Fact(event_type=EventType.TASK_UNROUTABLE, task_id=task_id, details=details), now)
            told += 1
    return told


def _position(reader: Reader, task_id: str, now: datetime, targets: Sequence[str] | None) -> QueuePosition:
    row = reader.one(_PLACE, (task_id,))
    if row is None:
        raise TaskNotFoundError(task_id)
    status, ready, priority, seq, not_before, retry_count = row
    if status != "pending":
        raise ValueError(f"task {task_id} is {status}, so it has no place in the queue")
    moment = epoch(now)
    waits = ready == 2 and not_before > moment
    if ready == 0:
        reason = "dependencies"
    elif waits:
        reason = "retry_wait" if retry_count else "not_before"
    else:
        reason = "queue_paused" if reader.value(_PAUSED) == "1" else "ready"
    place = {"priority": priority, "seq": seq, "now": moment}
    if targets is None:
        ahead = reader.value(_AHEAD, place) + reader.value(_DUE_AHEAD, place)
    else:
        place["targets"] = encode(list(targets)).decode()
        ahead = reader.value(_AHEAD + _OF_TARGETS, place) + reader.value(_DUE_AHEAD + _OF_TARGETS, place)
    blocked_by = tuple(other for (other,) in reader.rows(_BLOCKED_BY, (task_id,))) if ready == 0 else ()
    return QueuePosition(position=ahead + 1, ahead=ahead, eta_seconds=None, reason=reason, blocked_by=blocked_by)


def prune_tasks(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove up to *limit* finished tasks older than *before*, with their edges, steps and idempotency keys."""
    rows = cx.rows(_PRUNABLE, {"before": epoch(before), "limit": limit})
    for statement in _PRUNE:
        cx.executemany(statement, [(task_id,) for task_id, _ in rows])
    for _, status in rows:
        cx.count(**{status: -1})
    return len(rows)
