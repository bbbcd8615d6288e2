"""Taking over what dead nodes held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from shoal.errors import TaskInterruptedError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import DeadLetter
from shoal.kernel.ports import Child, Ended, Rescue
from shoal.kernel.task import TaskStatus
from shoal.store.sql.agents import lose_agents
from shoal.store.sql.begun_mail import give_back
from shoal.store.sql.dependents import after_failure
from shoal.store.sql.run_life import let_go
from shoal.store.sql.transaction import Row, Transaction

__all__ = ["hand_back", "rescue"]

_NODES = "SELECT node_id, name, host, lease_until FROM nodes WHERE lost = 0 ORDER BY started_at, node_id"
_LOSE = "UPDATE nodes SET lost = 1 WHERE node_id = ? AND lease_until BETWEEN ? AND ?"
_FIRST, _LAST = -(2**63), 2**63 - 1
_HELD = """SELECT task_id, name, assigned_agent_id, attempt, interruptions FROM tasks
    WHERE status = 'running' AND node_id = ? ORDER BY seq"""
_AGAIN = """UPDATE tasks SET status = 'pending', ready = 1, ready_at = ?, assigned_agent_id = NULL, node_id = NULL,
    started_at = NULL, interruptions = ?, error_type = 'TaskInterruptedError', error_message = ?, error_details = NULL
    WHERE task_id = ?"""
_FAIL = """UPDATE tasks SET status = 'failed', completed_at = ?, interruptions = ?,
    error_type = 'TaskInterruptedError', error_message = ?, error_details = NULL WHERE task_id = ?"""
_GIVE_BACK_MAIL = "UPDATE mail SET node_id = NULL WHERE node_id = ?"
_CHILDREN = "SELECT pid, pid_started, agent_id FROM children WHERE node_id = ? ORDER BY pid"
_FORGET_CHILDREN = "DELETE FROM children WHERE node_id = ?"


def rescue(
    cx: Transaction,
    dead: frozenset[str],
    silent: Mapping[str, int],
    now: datetime,
    max_interruptions: int,
    max_deliveries: int | None,
    spared: frozenset[str],
) -> Rescue:
    """Take over from the nodes of *dead*, those of *silent* that have not renewed since, and those whose lease has ended
    unless *spared*; see ``Leases.rescue``."""
    nodes: list[str] = []
    requeued: list[str] = []
    ended: list[Ended] = []
    agents: list[str] = []
    letters: list[DeadLetter] = []
    children: list[Child] = []
    runs: list[str] = []
    for node_id, name, host in _lose(cx, dead, silent, now, spared):
        nodes.append(node_id)
        details: dict[str, object] = {"name": name, "host": host}
        cx.emit(Fact(event_type=EventType.NODE_LOST, node_id=node_id, details=details), now)
        held = cx.rows(_HELD, (node_id,))
        again = [row for row in held if row[4] + 1 < max_interruptions]
        requeued += _requeue(cx, again, node_id, now, f"node {node_id} was lost", lost=1)
        for row in held:
            if row[4] + 1 >= max_interruptions:
                ended += _fail(cx, row, node_id, now)
        agents += lose_agents(cx, node_id, now)
        runs += let_go(cx, node_id, now)
        letters += give_back(cx, node_id, now, max_deliveries)
        children += _orphans(cx, node_id)
    return Rescue(
        nodes=tuple(nodes),
        requeued=tuple(requeued),
        ended=tuple(ended),
        agents=tuple(agents),
        letters=tuple(letters),
        children=tuple(children),
        runs=tuple(runs),
    )


def _orphans(cx: Transaction, node_id: str) -> list[Child]:
    """Forget the children of a node, and return them."""
    children = [
        Child(node_id=node_id, pid=pid, pid_started=pid_started, agent_id=agent_id)
        for pid, pid_started, agent_id in cx.rows(_CHILDREN, (node_id,))
    ]
    cx.execute(_FORGET_CHILDREN, (node_id,))
    return children


def _lose(
    cx: Transaction, dead: frozenset[str], silent: Mapping[str, int], now: datetime, spared: frozenset[str]
) -> Iterator[tuple[str, str, str]]:
    """Mark who is lost, one after the other, and yield id, name and host of each."""
    for node_id, name, host, lease_until in cx.rows(_NODES):
        if node_id in dead:
            ends = _FIRST, _LAST
        elif silent.get(node_id) == lease_until:
            ends = lease_until, lease_until
        elif node_id not in spared and lease_until <= epoch(now):
            ends = _FIRST, epoch(now)
        else:
            continue
        # A heartbeat takes no turn, so one may have come since the look.
        if cx.execute(_LOSE, (node_id, *ends)):
            yield node_id, name, host


def hand_back(cx: Transaction, node_id: str, now: datetime) -> None:
    """Put back the tasks, the mail and the runs that a node has when it leaves: the store did not hear what became of
    them."""
    _requeue(cx, cx.rows(_HELD, (node_id,)), node_id, now, f"node {node_id} has ended", lost=0)
    let_go(cx, node_id, now)
    cx.execute(_GIVE_BACK_MAIL, (node_id,))


def _requeue(
    cx: Transaction, rows: Sequence[Row], node_id: str, now: datetime, message: str, *, lost: int
) -> list[str]:
    cx.executemany(_AGAIN, [(epoch(now), row[4] + lost, message, row[0]) for row in rows])
    cx.count(running=-len(rows), pending=len(rows), ready=len(rows))
    for row in rows:
        _tell(cx, EventType.TASK_INTERRUPTED, (*row[:4], row[4] + lost), node_id, message, now)
    return [row[0] for row in rows]


def _fail(cx: Transaction, row: Row, node_id: str, now: datetime) -> list[Ended]:
    task_id, agent_id, interruptions = row[0], row[2], row[4] + 1
    message = str(TaskInterruptedError(f"node lost {interruptions} times in a row without a new step"))
    cx.execute(_FAIL, (epoch(now), interruptions, message, task_id))
    cx.count(running=-1, failed=1)
    _tell(cx, EventType.TASK_FAILED, (*row[:4], interruptions), node_id, message, now)
    failed, _ = after_failure(cx, task_id, TaskStatus.FAILED, now)
    return [Ended(task_id, TaskStatus.FAILED, agent_id, node_id), *failed]


def _tell(cx: Transaction, kind: EventType, row: Row, node_id: str, message: str, now: datetime) -> None:
    task_id, name, agent_id, attempt, interruptions = row
    details: dict[str, object] = {
        "name": name, "attempt": attempt, "error_type": "TaskInterruptedError", "error_message": message,
        "interruptions": interruptions,
    }  # fmt: skip
    cx.emit(Fact(event_type=kind, agent_id=agent_id, task_id=task_id, node_id=node_id, details=details), now)
