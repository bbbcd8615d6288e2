"""Giving ready tasks to free lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from shoal.errors import LeaseLostError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Claim, Fence
from shoal.kernel.room import Room, Slot
from shoal.kernel.task import Task, TaskStatus
from shoal.store.sql.records import TASK_COLUMNS, claimed, task_of
from shoal.store.sql.transaction import Params, Row, Sole, Transaction

__all__ = ["claim", "claim_alone", "look_for_one"]

_MAY_CLAIM = """SELECT lost, (SELECT value FROM meta WHERE key = 'queue_paused'),
    EXISTS (SELECT 1 FROM tasks WHERE ready = 2 AND not_before <= ?),
    (SELECT min(target) FROM tasks INDEXED BY tasks_ready WHERE ready = 1 AND target >= ?)
    FROM nodes WHERE node_id = ?"""
_SWEEP = "UPDATE tasks SET ready = 1, ready_at = not_before WHERE ready = 2 AND not_before <= ?"
_WAITED = "UPDATE tasks SET ready = 1, ready_at = ? WHERE task_id = ? AND attempt = ? AND ready = 2"
_NEXT_TARGET = "SELECT min(target) FROM tasks INDEXED BY tasks_ready WHERE ready = 1 AND target >= ?"
_FIRST = f"""SELECT priority, seq, ({_NEXT_TARGET}) FROM tasks INDEXED BY tasks_ready WHERE ready = 1 AND target = ?
    ORDER BY priority, seq LIMIT ? /* FOR UPDATE SKIP LOCKED */"""
_OLDEST = """SELECT ready_at, seq, priority FROM tasks INDEXED BY tasks_oldest WHERE ready = 1 AND target = ?
    ORDER BY ready_at, seq LIMIT 1"""
_FAMILY = """SELECT priority, seq, target FROM tasks INDEXED BY tasks_family WHERE ready = 1 AND root_id = ?
    ORDER BY priority, seq"""
_RUNNING = """status = 'running', ready = NULL, ready_at = NULL, attempt = attempt + 1, assigned_agent_id = ?, node_id = ?,
    started_at = CASE WHEN ready_at > ? THEN ready_at ELSE ? END, progress = NULL, progress_note = NULL"""
_RUN = f"UPDATE tasks SET {_RUNNING} WHERE seq = ? AND (ready = 1) IS TRUE RETURNING {TASK_COLUMNS}"

_LOOK = f"""SELECT nodes.lost, (SELECT value FROM meta WHERE key = 'queue_paused'),
    EXISTS (SELECT 1 FROM tasks WHERE ready = 2 AND not_before <= :now), (SELECT number FROM commits), first.*
    FROM nodes LEFT JOIN (
        SELECT target, seq, ready_at, {TASK_COLUMNS} FROM tasks INDEXED BY tasks_ready
        WHERE ready = 1 AND target >= :word ORDER BY target, priority, seq LIMIT 2
    ) AS first ON true WHERE nodes.node_id = :node_id"""
_HELD = "SELECT 1 FROM tasks WHERE seq = ? AND (ready = 1) IS TRUE AND attempt = ? /* FOR UPDATE SKIP LOCKED */"
_RUN_HELD = f"UPDATE tasks SET {_RUNNING} WHERE seq = ?"

_READY, _TARGET = 3, 6  # in INSERT_TASK
_OFFERED = 2**63  # above the places of all that is stored: from here on, tasks that this group is about to store
# (starved tasks first, priority, seq, target, root_id if it is known)
_Candidate = tuple[bool, int, int, str, str | None]


def claim(
    cx: Transaction,
    node_id: str,
    room: Room,
    now: datetime,
    starved_before: datetime | None,
    waited: Sequence[Fence] = (),
) -> list[Claim]:
    """Give tasks to the free lanes of *room*; see ``TaskStore.claim``."""
    moment = epoch(now)
    word = room.next_word("")
    found = cx.peek(_MAY_CLAIM, (moment, word or "", node_id))
    if not found or found[0][0]:
        raise LeaseLostError(f"node {node_id} has no lease, so it cannot claim tasks")
    ((_, paused, due, first),) = found
    for fence in waited:
        cx.count(ready=cx.execute(_WAITED, (moment, fence.task_id, fence.attempt)))
    if paused == "1":
        return []
    if due:
        cx.count(ready=cx.execute(_SWEEP, (moment,)))
    if due or waited:
        first = cx.value(_NEXT_TARGET, (word or "",))
    candidates = _candidates(cx, room, first, None if starved_before is None else epoch(starved_before))
    return _give(cx, node_id, _match(candidates, room), now, moment)


def look_for_one(
    node_id: str, room: Room, now: datetime, starved_before: datetime | None, waited: Sequence[Fence] = ()
) -> tuple[str, Params] | None:
    """Return the look that ``claim_alone`` needs; None when there may be more to do than to give one task away."""
    word = room.next_word("")
    if waited or word is None or room.lent:
        return None
    return _LOOK, {"now": epoch(now), "word": word, "node_id": node_id}


def claim_alone(
    cx: Transaction,
    found: Sequence[Row],
    node_id: str,
    room: Room,
    now: datetime,
    starved_before: datetime | None,
    waited: Sequence[Fence] = (),
) -> Sole | None:
    """Give the only task that is ready to a free lane of *room*, or find that there is none."""
    if len(found) != 1:
        return None
    lost, paused, due, seen, target, seq, ready_at, *row = found[0]
    if lost or paused == "1" or due:
        return None
    slot = None if target is None else next(iter(room.takers(target)), None)
    if slot is None:
        return Sole([])
    moment = epoch(now)
    ready = task_of(tuple(row))
    task = msgspec.structs.replace(
        ready,
        status=TaskStatus.RUNNING,
        attempt=ready.attempt + 1,
        assigned_agent_id=slot.agent_id,
        started_at=from_epoch(max(moment, ready_at)),
        progress=None,
        progress_note="",
    )
    _tell(cx, task, slot.agent_id, node_id, now)
    cx.count(pending=-1, ready=-1, running=1)
    change = (_RUN_HELD, (slot.agent_id, node_id, moment, moment, seq))
    return Sole([Claim(task, slot.agent_id)], (_HELD, (seq, ready.attempt)), change, seen)


def _candidates(cx: Transaction, room: Room, first: str | None, starved_before: int | None) -> list[_Candidate]:
    """Return enough tasks to fill *room*, in the order in which they are given.

    *first* is the first target of a ready task from the first word of *room* on.
    """
    families: dict[str, list[Slot]] = {}
    for slot in room.lent:
        families.setdefault(slot.root_id or "", []).append(slot)
    found: dict[int, _Candidate] = {}
    for root_id, lent in families.items():
        words = {target for slot in lent for target in slot.targets}
        places_left = sum(slot.free for slot in lent)
        for priority, seq, target in cx.peek(_FAMILY, (root_id,)):
            if target in words and places_left > 0:
                places_left -= 1
                found[seq] = (False, priority, seq, target, root_id)
    targets = _add_first(cx, room, first, found)
    if starved_before is not None and targets:
        oldest = [(*row, target) for target in targets for row in cx.peek(_OLDEST, (target,))]
        ready_at, seq, priority, target = min(oldest, default=(starved_before, 0, 0, ""))
        if ready_at < starved_before:
            found[seq] = (True, priority, seq, target, None)
    for seq, (task, row) in enumerate(cx.new.offered, _OFFERED):
        if row[_READY] == 1:  # else a claim before this one has given it away
            found[seq] = (False, task.priority, seq, row[_TARGET], task.root_id)
    return sorted(found.values(), key=lambda candidate: (not candidate[0], candidate[1], candidate[2]))


def _add_first(cx: Transaction, room: Room, first: str | None, found: dict[int, _Candidate]) -> list[str]:
    """Add the first tasks of the words of *room*, leaping over what only one side has; return those of which there are."""
    ready = []
    word, target = room.next_word(""), first
    while word is not None and target is not None:
        following = room.next_word(target, after=target == word)
        if target == word:
            ready.append(target)
            rows = cx.peek(_FIRST, (following or target, target, room.lanes(target)))
            for priority, seq, _ in rows:
                found.setdefault(seq, (False, priority, seq, target, None))
            if rows and following is not None:
                word, target = following, rows[0][2]
                continue
        word = following
        if word is not None and word > target:
            ((target,),) = cx.peek(_NEXT_TARGET, (word,))
    return ready


class _Lanes:
    """The lanes of a room, given away one after the other."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._used: dict[str, int] = {}  # by agent
        self._queues: dict[str, Iterator[Slot]] = {}  # by target: who has not been looked at
        self._next: dict[str, Slot | None] = {}  # by target: who is served next
        self._lent = [slot for slot in room.lent for _ in range(slot.free)]

    def take(self, target: str, root_id: str | None) -> str | None:
        """Give the next lane for a task away and return whose it is."""
        if target not in self._queues:
            self._queues[target] = iter(self._room.takers(target))
            self._next[target] = next(self._queues[target], None)
        while (slot := self._next[target]) is not None and self._used.get(slot.agent_id, 0) >= slot.free:
            self._next[target] = next(self._queues[target], None)
        if slot is not None:
            self._used[slot.agent_id] = self._used.get(slot.agent_id, 0) + 1
            return slot.agent_id
        for place, lent in enumerate(self._lent if root_id is not None else ()):
            if lent.root_id == root_id and target in lent.targets:
                return self._lent.pop(place).agent_id
        return None


def _match(candidates: Sequence[_Candidate], room: Room) -> list[tuple[int, str]]:
    """Return (seq, agent) pairs: each candidate to the first who takes it and has a lane left."""
    lanes = _Lanes(room)
    takers = ((seq, lanes.take(target, root_id)) for _, _, seq, target, root_id in candidates)
    return [(seq, agent_id) for seq, agent_id in takers if agent_id is not None]


def _give(cx: Transaction, node_id: str, given: Sequence[tuple[int, str]], now: datetime, moment: int) -> list[Claim]:
    # What made a task ready may have been asked for after the claim, and be carried out before it.
    stored = [(agent_id, node_id, moment, moment, seq) for seq, agent_id in given if seq < _OFFERED]
    rows = iter(cx.each(_RUN, stored))
    claims = []
    for seq, agent_id in given:
        if seq >= _OFFERED:
            new, its_row = cx.new.offered[seq - _OFFERED]
            task = claimed(new, its_row, agent_id, node_id, moment)
        elif (row := next(rows)) is not None:
            task = task_of(row)
        else:  # another node was faster
            continue
        claims.append(Claim(task, agent_id))
        _tell(cx, task, agent_id, node_id, now)
    cx.count(pending=-len(claims), ready=-len(claims), running=len(claims))
    return claims


def _tell(cx: Transaction, task: Task, agent_id: str, node_id: str, now: datetime) -> None:
    details: dict[str, object] = {"name": task.name, "attempt": task.attempt}
    for kind in (EventType.TASK_ASSIGNED, EventType.TASK_STARTED):
        cx.emit(Fact(event_type=kind, agent_id=agent_id, task_id=task.task_id, node_id=node_id, details=details), now)
