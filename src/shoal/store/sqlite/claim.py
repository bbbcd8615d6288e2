"""Giving ready tasks to free slots."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime

from shoal.errors import LeaseLostError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Claim, Fence, Slot
from shoal.kernel.task import Task
from shoal.store.sqlite.connection import Transaction
from shoal.store.sqlite.records import TASK_COLUMNS, task_of

__all__ = ["claim", "sweep"]

_MAY_CLAIM = "SELECT lost, (SELECT value FROM meta WHERE key = 'queue_paused') FROM nodes WHERE node_id = ?"
_DUE = "SELECT 1 FROM tasks WHERE ready = 2 AND not_before <= ? LIMIT 1"
_SWEEP = "UPDATE tasks SET ready = 1, ready_at = not_before WHERE ready = 2 AND not_before <= ?"
_WAITED = "UPDATE tasks SET ready = 1, ready_at = ? WHERE task_id = ? AND attempt = ? AND ready = 2"
_NEXT_TARGET = "SELECT min(target) FROM tasks INDEXED BY tasks_ready WHERE ready = 1 AND target >= ?"
_FIRST = """SELECT priority, seq FROM tasks INDEXED BY tasks_ready WHERE ready = 1 AND target = ?
    ORDER BY priority, seq LIMIT ?"""
_OLDEST = """SELECT ready_at, seq, priority FROM tasks INDEXED BY tasks_oldest WHERE ready = 1 AND target = ?
    ORDER BY ready_at, seq LIMIT 1"""
_FAMILY = """SELECT priority, seq, target FROM tasks INDEXED BY tasks_family WHERE ready = 1 AND root_id = ?
    ORDER BY priority, seq"""
_RUN = f"""UPDATE tasks SET status = 'running', ready = NULL, ready_at = NULL, attempt = attempt + 1,
    assigned_agent_id = ?, node_id = ?, started_at = ?, progress = NULL, progress_note = NULL
    WHERE seq = ? RETURNING {TASK_COLUMNS}"""

# (starved tasks first, priority, seq, target, root_id if it is known)
_Candidate = tuple[bool, int, int, str, str | None]


def claim(
    cx: Transaction,
    node_id: str,
    slots: Sequence[Slot],
    now: datetime,
    starved_before: datetime | None,
    waited: Sequence[Fence] = (),
) -> list[Claim]:
    """Give tasks to *slots*; see ``TaskStore.claim``."""
    found = cx.one(_MAY_CLAIM, (node_id,))
    if found is None or found[0]:
        raise LeaseLostError(f"node {node_id} has no lease, so it cannot claim tasks")
    moment = epoch(now)
    for fence in waited:
        cx.count(ready=cx.execute(_WAITED, (moment, fence.task_id, fence.attempt)))
    if found[1] == "1":
        return []
    sweep(cx, moment)
    candidates = _candidates(cx, slots, None if starved_before is None else epoch(starved_before))
    return _give(cx, node_id, _match(candidates, slots), now, moment)


def sweep(cx: Transaction, moment: int) -> None:
    """Make ready what waited for a time that has come."""
    if cx.one(_DUE, (moment,)) is not None:
        cx.count(ready=cx.execute(_SWEEP, (moment,)))


def _candidates(cx: Transaction, slots: Sequence[Slot], starved_before: int | None) -> list[_Candidate]:
    """Return enough tasks to fill *slots*, in the order in which they are given."""
    places: dict[str, int] = {}
    families: dict[str, None] = {}
    for slot in slots:
        if slot.root_id is not None:
            families[slot.root_id] = None
            continue
        for target in slot.targets:
            places[target] = places.get(target, 0) + slot.free
    found: dict[int, _Candidate] = {}
    for root_id in families:
        lent = [slot for slot in slots if slot.root_id == root_id]
        words = {target for slot in lent for target in slot.targets}
        places_left = sum(slot.free for slot in lent)
        for priority, seq, target in cx.rows(_FAMILY, (root_id,)):
            if target in words and places_left > 0:
                places_left -= 1
                found[seq] = (False, priority, seq, target, root_id)
    targets = _ready_targets(cx, sorted(places))
    for target in targets:
        for priority, seq in cx.rows(_FIRST, (target, places[target])):
            found.setdefault(seq, (False, priority, seq, target, None))
    if starved_before is not None and targets:
        ready_at, seq, priority, target = min((*cx.rows(_OLDEST, (target,))[0], target) for target in targets)
        if ready_at < starved_before:
            found[seq] = (True, priority, seq, target, None)
    return sorted(found.values(), key=lambda candidate: (not candidate[0], candidate[1], candidate[2]))


def _ready_targets(cx: Transaction, wanted: Sequence[str]) -> list[str]:
    """Return those of *wanted* for which a task is ready, leaping over what only one side has."""
    ready = []
    place = 0
    while place < len(wanted):
        target = cx.value(_NEXT_TARGET, (wanted[place],))
        if target is None:
            break
        place = bisect_left(wanted, target, lo=place)
        if place < len(wanted) and wanted[place] == target:
            ready.append(target)
            place += 1
    return ready


def _match(candidates: Sequence[_Candidate], slots: Sequence[Slot]) -> list[tuple[int, str]]:
    """Return (seq, agent) pairs: each candidate to the first listed slot that may run it and has room."""
    free = [slot.free for slot in slots]
    left = sum(free)
    by_target: dict[str, list[int]] = {}
    for index, slot in enumerate(slots):
        for target in slot.targets:
            by_target.setdefault(target, []).append(index)
    given = []
    for _, _, seq, target, root_id in candidates:
        takers = by_target[target]
        while takers and not free[takers[0]]:
            del takers[0]
        for index in takers:
            slot = slots[index]
            if free[index] and (slot.root_id is None or slot.root_id == root_id):
                free[index] -= 1
                left -= 1
                given.append((seq, slot.agent_id))
                break
        if not left:
            break
    return given


def _give(cx: Transaction, node_id: str, given: Sequence[tuple[int, str]], now: datetime, moment: int) -> list[Claim]:
    claims = []
    for seq, agent_id in given:
        task = task_of(cx.rows(_RUN, (agent_id, node_id, moment, seq))[0])
        claims.append(Claim(task, agent_id))
        _tell(cx, task, agent_id, node_id, now)
    if given:
        cx.count(pending=-len(given), ready=-len(given), running=len(given))
    return claims


def _tell(cx: Transaction, task: Task, agent_id: str, node_id: str, now: datetime) -> None:
    details: dict[str, object] = {"name": task.name, "attempt": task.attempt}
    for kind in (EventType.TASK_ASSIGNED, EventType.TASK_STARTED):
        cx.emit(Fact(event_type=kind, agent_id=agent_id, task_id=task.task_id, node_id=node_id, details=details), now)
