"""The end of an attempt, and of a task that is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shoal.errors import TaskNotFoundError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import encode
from shoal.kernel.ports import Cancelled, Ended, Outcome, Settled, Settlement
from shoal.kernel.task import TaskStatus
from shoal.kernel.trace import Span
from shoal.store.sql import mail
from shoal.store.sql.dependents import after_failure, release, waited_for
from shoal.store.sql.operations import Operation
from shoal.store.sql.records import moment, text
from shoal.store.sql.transaction import Row, Sole, Transaction

__all__ = ["cancel", "cancel_all", "settle", "settle_alone", "settle_many"]

# ``IS TRUE``: PostgreSQL finds the rows by their ids, not by an index on what many have in common.
_FENCED = """WHERE task_id = :task_id AND (status = 'running') IS TRUE AND node_id = :node_id AND attempt = :attempt
    RETURNING name, retry_count, deaths, interruptions, started_at, ready,
        EXISTS (SELECT 1 FROM task_deps WHERE dependency_id = tasks.task_id)"""
_COMPLETED = """status = 'completed', completed_at = :now, output_data = :output, error_type = NULL,
    error_message = NULL, error_details = NULL"""
_COMPLETE = f"UPDATE tasks SET {_COMPLETED} {_FENCED}"
_FAIL = f"""UPDATE tasks SET status = 'failed', completed_at = :now, error_type = :error_type,
    error_message = :error_message, error_details = :error_details {_FENCED}"""
_AGAIN = """status = 'pending', assigned_agent_id = NULL, node_id = NULL, started_at = NULL,
    ready = CASE WHEN :not_before > :now THEN 2 ELSE 1 END,
    ready_at = CASE WHEN :not_before > :now THEN NULL ELSE :now END,
    not_before = coalesce(:not_before, not_before), error_type = :error_type, error_message = :error_message,
    error_details = :error_details"""
_RETRY = f"UPDATE tasks SET {_AGAIN}, retry_count = retry_count + 1 {_FENCED}"
_INTERRUPT = f"""UPDATE tasks SET {_AGAIN}, deaths = deaths + :died, interruptions = interruptions + :lost
    {_FENCED}"""
_STATEMENTS = {
    Outcome.COMPLETED: (_COMPLETE, EventType.TASK_COMPLETED),
    Outcome.FAILED: (_FAIL, EventType.TASK_FAILED),
    Outcome.RETRY: (_RETRY, EventType.TASK_RETRYING),
    Outcome.INTERRUPTED: (_INTERRUPT, EventType.TASK_INTERRUPTED),
}


def settle(cx: Transaction, settlement: Settlement, now: datetime) -> Settled:
    """End one attempt; see ``TaskStore.settle``."""
    return _settle(cx, [_End(settlement, now, cx.span)])[0]


def settle_many(cx: Transaction, operations: Sequence[Operation[Settled]]) -> list[Settled]:
    """Do what ``settle`` does, for many at once."""
    ends = []
    for operation in operations:
        settlement, now = operation.args
        ends.append(_End(settlement, now, operation.span))
    return _settle(cx, ends)


_HELD = """SELECT 1 FROM tasks
    WHERE task_id = :task_id AND (status = 'running') IS TRUE AND node_id = :node_id AND attempt = :attempt
        AND NOT EXISTS (SELECT 1 FROM task_deps WHERE dependency_id = tasks.task_id) /* FOR UPDATE */"""
_ENDED = f"UPDATE tasks SET {_COMPLETED} WHERE task_id = :task_id"


def settle_alone(cx: Transaction, found: Sequence[Row], settlement: Settlement, now: datetime) -> Sole | None:
    """Complete a task that nothing waits for, when that is all there is to do."""
    fence, name = settlement.fence, settlement.name
    if settlement.outcome is not Outcome.COMPLETED or name is None or settlement.acks or settlement.returns:
        return None
    started_at = None if settlement.started_at is None else epoch(settlement.started_at)
    _tell(cx, settlement, _details(settlement, (name, 0, 0, 0, started_at), now), now)
    cx.count(running=-1, completed=1)
    end = Ended(fence.task_id, TaskStatus.COMPLETED, settlement.agent_id, fence.node_id)
    parameters = _parameters(settlement, now)
    held = {name: parameters[name] for name in ("task_id", "node_id", "attempt")}
    change = {name: parameters[name] for name in ("task_id", "now", "output")}
    return Sole(Settled(applied=True, ended=(end,)), (_HELD, held), (_ENDED, change))


class _End:
    """One settlement, and what came of it."""

    __slots__ = ("now", "parameters", "row", "settlement", "span")

    def __init__(self, settlement: Settlement, now: datetime, span: Span | None) -> None:
        self.settlement = settlement
        self.now = now
        self.span = span
        self.parameters = _parameters(settlement, now)
        self.row: Row | None = None


def _settle(cx: Transaction, ends: Sequence[_End]) -> list[Settled]:
    settled: list[Settled] = []
    for apart in _apart(ends):
        for outcome, (statement, _) in _STATEMENTS.items():
            of_it = [end for end in apart if end.settlement.outcome is outcome]
            if of_it:
                for end, row in zip(of_it, cx.each(statement, [end.parameters for end in of_it]), strict=True):
                    end.row = row
        promoted = _release(cx, apart)
        settled += [_told(cx, end, promoted) for end in apart]
    return settled


def _apart(ends: Sequence[_End]) -> list[list[_End]]:
    """Return *ends* in order, cut so that no part ends a task twice."""
    parts: list[list[_End]] = [[]]
    known: set[str] = set()
    for end in ends:
        task_id = end.settlement.fence.task_id
        if task_id in known:
            parts.append([])
            known.clear()
        known.add(task_id)
        parts[-1].append(end)
    return parts


def _release(cx: Transaction, ends: Sequence[_End]) -> bool:
    """Take those that are completed off the lists of their dependents; tell whether one became ready."""
    completed = {
        end.settlement.fence.task_id: end.now
        for end in ends
        if end.row is not None and end.row[6] and end.settlement.outcome is Outcome.COMPLETED
    }
    return bool(completed) and release(cx, list(completed), max(completed.values()))


def _told(cx: Transaction, end: _End, promoted: bool) -> Settled:
    """Write what else belongs to the end of one attempt."""
    settlement, row, now = end.settlement, end.row, end.now
    if row is None:
        return Settled(applied=False)
    cx.span = end.span
    _tell(cx, settlement, _details(settlement, row, now), now)
    if settlement.acks and settlement.outcome is Outcome.COMPLETED:
        mail.ack(cx, settlement.agent_id, settlement.acks, now)
    for each in settlement.returns:
        mail.nack(cx, settlement.agent_id, each, now)
    return _finish(cx, end, row, promoted)


def _tell(cx: Transaction, settlement: Settlement, details: dict[str, object], now: datetime) -> None:
    for fact in settlement.facts:
        cx.emit(fact, now)
    kind, fence = _STATEMENTS[settlement.outcome][1], settlement.fence
    told = Fact(
        event_type=kind,
        agent_id=settlement.agent_id,
        task_id=fence.task_id,
        node_id=fence.node_id,
        details=details,
    )
    cx.emit(told, now)


def _parameters(settlement: Settlement, now: datetime) -> dict[str, Any]:
    fence = settlement.fence
    fenced: dict[str, Any] = {
        "task_id": fence.task_id, "node_id": fence.node_id, "attempt": fence.attempt, "now": epoch(now),
    }  # fmt: skip
    if settlement.outcome is Outcome.COMPLETED:
        fenced["output"] = None if settlement.output is None else encode(settlement.output).decode()
        return fenced
    return fenced | {
        "error_type": settlement.error_type,
        "error_message": settlement.error_message,
        "error_details": text(settlement.error_details),
        "not_before": moment(settlement.not_before),
        "died": int(settlement.died),
        "lost": int(settlement.lost),
    }


def _details(settlement: Settlement, row: tuple[Any, ...], now: datetime) -> dict[str, object]:
    name, retry_count, deaths, interruptions, started_at, *_ = row
    details: dict[str, object] = {"name": name, "attempt": settlement.fence.attempt}
    if started_at is not None:
        details["duration_seconds"] = (epoch(now) - started_at) / 1_000_000
    if settlement.outcome is Outcome.COMPLETED:
        return details
    details |= {"error_type": settlement.error_type, "error_message": settlement.error_message}
    if settlement.outcome is Outcome.RETRY:
        details["retry_count"] = retry_count
        if settlement.not_before is not None:
            details["not_before"] = settlement.not_before.isoformat()
    elif settlement.outcome is Outcome.INTERRUPTED:
        details |= {"deaths": deaths, "interruptions": interruptions}
    return details


def _finish(cx: Transaction, end: _End, row: Row, promoted: bool) -> Settled:
    settlement = end.settlement
    fence = settlement.fence
    failed: list[Ended] = []
    match settlement.outcome:
        case Outcome.COMPLETED:
            cx.count(running=-1, completed=1)
            status, promoted = TaskStatus.COMPLETED, promoted and bool(row[6])
        case Outcome.FAILED:
            cx.count(running=-1, failed=1)
            status = TaskStatus.FAILED
            failed, promoted = after_failure(cx, fence.task_id, status, end.now)
        case Outcome.RETRY | Outcome.INTERRUPTED:
            cx.count(running=-1, pending=1, ready=int(row[5] == 1))
            return Settled(applied=True)
    this = Ended(fence.task_id, status, settlement.agent_id, fence.node_id)
    return Settled(applied=True, ended=(this, *failed), promoted=promoted)


_STATUS = "SELECT status FROM tasks WHERE task_id = ?"
_FAMILY = """WITH RECURSIVE family (task_id) AS (
        SELECT value FROM json_each(?)
        UNION
        SELECT child.task_id FROM family JOIN tasks AS child ON child.parent_id = family.task_id
    )
    SELECT task.task_id, task.name, task.status, task.ready, task.assigned_agent_id, task.node_id
    FROM family JOIN tasks AS task ON task.task_id = family.task_id
    WHERE task.status IN ('pending', 'running')"""
_CANCEL = """UPDATE tasks SET status = 'cancelled', ready = NULL, completed_at = ?, error_type = NULL,
    error_message = ?, error_details = NULL WHERE task_id IN (SELECT value FROM json_each(?))"""


def cancel(cx: Transaction, task_id: str, reason: str | None, now: datetime) -> Cancelled:
    """Cancel one task with its children; see ``TaskStore.cancel``."""
    status = cx.value(_STATUS, (task_id,))
    if status is None:
        raise TaskNotFoundError(task_id)
    if TaskStatus(status).final:
        return Cancelled(applied=False)
    return cancel_all(cx, [task_id], reason, now)


def cancel_all(cx: Transaction, task_ids: list[str], reason: str | None, now: datetime) -> Cancelled:
    """Cancel those of *task_ids* that have not ended, with their unfinished children at all depths."""
    stopped: list[Ended] = []
    ended: list[Ended] = []
    rows = cx.rows(_FAMILY, (encode(task_ids).decode(),))
    for task_id, name, status, ready, agent_id, node_id in rows:
        end = Ended(task_id, TaskStatus.CANCELLED, agent_id, node_id)
        ended.append(end)
        if status == "running":
            stopped.append(end)
            cx.count(running=-1, cancelled=1)
        else:
            cx.count(pending=-1, ready=-int(ready == 1), cancelled=1)
        details: dict[str, object] = {"name": name, "reason": reason}
        cx.emit(
            Fact(
                event_type=EventType.TASK_CANCELLED,
                agent_id=agent_id,
                task_id=task_id,
                node_id=node_id,
                details=details,
            ),
            now,
        )
    cancelled = [task_id for task_id, *_ in rows]
    cx.execute(_CANCEL, (epoch(now), reason, encode(cancelled).decode()))
    promoted = False
    for task_id in waited_for(cx, cancelled):
        failed, freed = after_failure(cx, task_id, TaskStatus.CANCELLED, now)
        ended += failed
        promoted = promoted or freed
    return Cancelled(applied=bool(rows), stopped=tuple(stopped), ended=tuple(ended), promoted=promoted)
