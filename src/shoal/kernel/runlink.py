"""The verbs by which an agent's code writes the run of its task: the attempt's fence is added here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import LeaseLostError
from shoal.kernel.budget import Account, Budget, Grant, Need
from shoal.kernel.ports import Begun, Hold, RunEnd, RunOrder, RunStore, RunWrite
from shoal.kernel.run import Approval, Decision, RunEvent

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry

__all__ = ["RUN_VERBS"]


async def _begin(cell: Cell, entry: Entry | None, order: Any) -> Begun:
    if entry is None or entry.attempt is None:
        raise RuntimeError("a journal belongs to a task: run the pattern inside execute_task")
    given: RunOrder = _record(order, RunOrder)
    fence = entry.attempt.fence
    if given.record.run_id != f"task:{fence.task_id}":
        raise ValueError(f"the run of this task is 'task:{fence.task_id}', not {given.record.run_id!r:.200}")
    given = msgspec.structs.replace(given, node_id=cell.env.node_id, fence=fence)
    return await cell.env.store.runs.begin(given, now=cell.env.clock.now())


def _held(entry: Entry | None, hold: Any) -> Hold:
    given: Hold = _record(hold, Hold)
    if entry is None or entry.attempt is None or given.run_id != f"task:{entry.attempt.task.task_id}":
        raise LeaseLostError(f"this code does not carry out the run {given.run_id!r:.200}")
    return given


async def _write(cell: Cell, entry: Entry | None, hold: Any, write: Any) -> None:
    if entry is not None and entry.attempt is not None:
        entry.attempt.stepped = True
    await _runs(cell).write(_held(entry, hold), _record(write, RunWrite), now=cell.env.clock.now())


async def _open_account(
    cell: Cell, entry: Entry | None, hold: Any, account_id: str, parent: str | None, budget: Any
) -> None:
    now = cell.env.clock.now()
    await _runs(cell).open_account(_held(entry, hold), account_id, parent, _record(budget, Budget), now=now)


async def _reserve(cell: Cell, entry: Entry | None, hold: Any, account_id: str, key: str, need: Any) -> Grant:
    now = cell.env.clock.now()
    return await _runs(cell).reserve(_held(entry, hold), account_id, key, _record(need, Need), now=now)


async def _ask(cell: Cell, entry: Entry | None, hold: Any, approval: Any, events: Any) -> Approval:
    now = cell.env.clock.now()
    return await _runs(cell).ask(_held(entry, hold), _record(approval, Approval), _news(events), now=now)


async def _resume(cell: Cell, entry: Entry | None, hold: Any, events: Any) -> None:
    await _runs(cell).resume(_held(entry, hold), _news(events), now=cell.env.clock.now())


async def _forget(cell: Cell, entry: Entry | None, hold: Any, key: str, keep: Any) -> None:
    await _runs(cell).forget(_held(entry, hold), key, keep, now=cell.env.clock.now())


async def _end(cell: Cell, entry: Entry | None, hold: Any, end: Any) -> None:
    await _runs(cell).end(_held(entry, hold), _record(end, RunEnd), now=cell.env.clock.now())


async def _approval(cell: Cell, entry: Entry | None, approval_id: str) -> Approval:
    return await _runs(cell).approval(approval_id)


async def _decide(
    cell: Cell, entry: Entry | None, approval_id: str, decision: Decision, by: str, note: str
) -> Approval:
    return await _runs(cell).decide(approval_id, decision, by, note, now=cell.env.clock.now())


async def _account(cell: Cell, entry: Entry | None, account_id: str) -> Account:
    return await _runs(cell).account(account_id)


async def _cancel_asked(cell: Cell, entry: Entry | None, run_id: str) -> str | None:
    return await _runs(cell).cancel_asked(run_id)


async def _told(cell: Cell, entry: Entry | None, feed_id: str, after: int) -> list[RunEvent]:
    if entry is None or entry.attempt is None or feed_id.partition("/")[0] != f"task:{entry.attempt.task.task_id}":
        raise LeaseLostError(f"this code does not carry out the run of {feed_id!r:.200}")
    return list(_runs(cell).events(feed_id, after=after))


async def _run_tool(cell: Cell, entry: Entry | None, isolation: str, program: Any, name: str, timeout: float) -> Any:
    env, options = cell.env, cell.registration.options
    if env.run_tool is None:
        raise RuntimeError("this runtime starts no processes")
    return await env.run_tool(
        isolation=isolation,
        program=program,
        name=name,
        timeout=timeout,
        at_least=options.isolation,
        limits=options.limits,
        box=options.box,
    )


def _runs(cell: Cell) -> RunStore:
    return cell.env.store.runs


def _record(value: Any, kind: type[Any]) -> Any:
    """Return *value* as the record it is; over a wire it comes as JSON values."""
    return value if isinstance(value, kind) else msgspec.convert(value, kind)


def _news(events: Any) -> list[RunEvent]:
    return [_record(event, RunEvent) for event in events]


RUN_VERBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "run_begin": _begin,
    "run_write": _write,
    "run_open_account": _open_account,
    "run_reserve": _reserve,
    "run_ask": _ask,
    "run_resume": _resume,
    "run_forget": _forget,
    "run_end": _end,
    "run_approval": _approval,
    "run_decide": _decide,
    "run_account": _account,
    "run_cancel_asked": _cancel_asked,
    "run_told": _told,
    "run_tool": _run_tool,
}
"""What carries out each verb, given the cell and the entry."""
