"""A run from taking it up to letting it go: who carries it out, and how it ends."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.errors import RunActiveError, RunConflictError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import Begun, Hold, RunEnd, RunOrder
from shoal.kernel.run import ENDED, FINISHED, RunEvent, RunEventType, RunRecord, RunStatus
from shoal.store.sql.accounts import account, limit, lose_all
from shoal.store.sql.records import check_not_lost
from shoal.store.sql.run_rows import INSERT_RUN, RUN_COLUMNS, run_of, seq_of, steps_of, usage_of
from shoal.store.sql.run_steps import add_usage, check_hold, note_seconds, tell
from shoal.store.sql.tasks import check_fence

if TYPE_CHECKING:
    from shoal.store.sql.database import Drift
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["ask_cancel", "begin", "check_free", "end", "last_offset", "let_go", "read_run", "result_of"]

_GET = f"SELECT {RUN_COLUMNS} FROM runs WHERE run_id = ?"
_KNOWN = "SELECT seq, hold FROM runs WHERE run_id = ?"
_TAKE_UP = """UPDATE runs SET status = 'running', node_id = ?, hold = hold + 1, finished_at = NULL, error = NULL,
    stopped = NULL, cancel_asked = NULL, budget = coalesce(?, budget) WHERE seq = ?"""
_LEASE = "SELECT lease_until FROM nodes WHERE node_id = ? AND lost = 0"
_LAST = "SELECT max(\"offset\") FROM run_events WHERE run = ? AND feed = ''"
_RESULT = "SELECT value FROM run_results WHERE run = ?"
_KEEP_RESULT = """INSERT INTO run_results (run, value) VALUES (?, ?)
    ON CONFLICT (run) DO UPDATE SET value = excluded.value"""
_DROP_RESULT = "DELETE FROM run_results WHERE run = ?"
_END = """UPDATE runs SET status = ?, node_id = NULL, finished_at = ?, error = ?, stopped = ?
    WHERE seq = ?"""
_ASK_CANCEL = "UPDATE runs SET cancel_asked = coalesce(cancel_asked, ?) WHERE run_id = ?"
_HELD = "SELECT seq, run_id, cancel_asked FROM runs WHERE node_id = ? ORDER BY seq"
_INTERRUPT = "UPDATE runs SET status = 'interrupted', node_id = NULL WHERE seq = ?"


def read_run(cx: Reader, run_id: str) -> RunRecord:
    """Return a run. Raises RunNotFoundError."""
    row = cx.one(_GET, (run_id,))
    if row is None:
        seq_of(cx, run_id)
    assert row is not None, "seq_of has raised"
    return run_of(row)


def result_of(cx: Reader, run: int) -> object:
    """Return the recorded result of a run, None when it has none."""
    raw = cx.value(_RESULT, (run,))
    return None if raw is None else decode(raw)


def last_offset(cx: Reader, run: int) -> int:
    """Return the offset of a run's last event, 0 when it has none."""
    return cx.value(_LAST, (run,)) or 0


def check_free(cx: Transaction, drift: Drift, record: RunRecord, now: datetime, *, but: str | None = None) -> None:
    """Raise RunActiveError when a living node, other than *but*, carries a run out.

    Before a lease is taken for over, the clock is put right: one that was set forward would take what living nodes hold.
    """
    node_id = record.node_id
    if node_id is None or node_id == but:
        return
    until, micros = cx.value(_LEASE, (node_id,)), epoch(now)
    if until is not None and (until > micros or until > micros + drift(cx)):
        raise RunActiveError(record.run_id, node_id)


def begin(cx: Transaction, drift: Drift, order: RunOrder, row: tuple[Any, ...], now: datetime) -> Begun:
    """Create a run, or take up one that nobody carries out; *row* is the run if it is new."""
    run_id = order.record.run_id
    check_not_lost(cx, order.node_id)
    if order.fence is not None:
        check_fence(cx, order.fence)
    known = cx.one(_KNOWN, (run_id,))
    if known is None:
        return _create(cx, order, row, now)
    seq, token = known
    record = read_run(cx, run_id)
    _check_same(record, order.record)
    if record.status in FINISHED:
        return Begun(record=record, hold=None, offset=last_offset(cx, seq), result=result_of(cx, seq))
    check_free(cx, drift, record, now, but=order.node_id)
    budget = order.record.budget
    add_usage(cx, seq, record.usage, lose_all(cx, seq))
    cx.execute(_TAKE_UP, (order.node_id, None if budget is None else encode(budget).decode(), seq))
    cx.execute(_DROP_RESULT, (seq,))
    if budget is not None:
        limit(cx, run_id, seq, record.parent_account, budget)
    return _begun(cx, order, seq, token + 1, now)


def _create(cx: Transaction, order: RunOrder, row: tuple[Any, ...], now: datetime) -> Begun:
    record = order.record
    if record.parent_account is not None:
        account(cx, record.parent_account)
    cx.execute(INSERT_RUN, row)
    seq = seq_of(cx, record.run_id)
    if record.budget is not None:
        limit(cx, record.run_id, seq, record.parent_account, record.budget)
    return _begun(cx, order, seq, 1, now, known=False)


def _begun(cx: Transaction, order: RunOrder, seq: int, token: int, now: datetime, *, known: bool = True) -> Begun:
    record = read_run(cx, order.record.run_id)
    details: dict[str, object] = {"pattern": record.pattern, "label": record.label, "resumed": known}
    cx.emit(Fact(event_type=EventType.RUN_STARTED, run_id=record.run_id, node_id=order.node_id, details=details), now)
    return Begun(
        record=record,
        hold=Hold(run_id=record.run_id, node_id=order.node_id, token=token),
        steps=tuple(steps_of(cx, seq)) if known else (),
        offset=last_offset(cx, seq) if known else 0,
    )


def _check_same(known: RunRecord, asked: RunRecord) -> None:
    same = known.pattern == asked.pattern
    if not same or known.input != decode(encode(asked.input)):
        what = "input" if same else f"pattern ({known.pattern!r:.80})"
        raise RunConflictError(f"run {asked.run_id!r:.200} was begun with another {what}", run_id=asked.run_id)


def end(cx: Transaction, hold: Hold, ended: RunEnd, result: str | None, now: datetime) -> None:
    """End a run, or this life of it."""
    seq, usage, _ = check_hold(cx, hold)
    add_usage(cx, seq, usage_of(usage), lose_all(cx, seq))
    finished_at = epoch(now) if ended.status in ENDED else None
    cx.execute(_END, (str(ended.status), finished_at, ended.error, ended.stopped, seq))
    note_seconds(cx, seq, ended.seconds)
    if result is not None:
        cx.execute(_KEEP_RESULT, (seq, result))
    tell(cx, seq, hold.run_id, ended.events)
    for fact in ended.facts:
        cx.emit(fact, now)
    cx.announce()


def ask_cancel(cx: Transaction, drift: Drift, run_id: str, reason: str, now: datetime) -> RunRecord:
    """Ask the holder of a run to cancel it; without one it is cancelled."""
    record = read_run(cx, run_id)
    if record.status in ENDED:
        return record
    try:
        check_free(cx, drift, record, now)
    except RunActiveError:
        cx.execute(_ASK_CANCEL, (reason, run_id))
        cx.announce()
    else:
        _cancel(cx, seq_of(cx, run_id), record, reason, now)
    return read_run(cx, run_id)


def _cancel(cx: Transaction, seq: int, record: RunRecord, reason: str, now: datetime) -> None:
    lost = lose_all(cx, seq)
    add_usage(cx, seq, record.usage, lost)
    cx.execute(_END, ("cancelled", epoch(now), reason, "cancelled", seq))
    data = {"status": str(RunStatus.CANCELLED), "stopped": "cancelled", "cost": record.usage.cost}
    told = RunEvent(
        offset=last_offset(cx, seq) + 1,
        run_id=record.run_id,
        path="",
        type=RunEventType.RUN_FINISHED,
        data=data,
        at=now,
    )
    tell(cx, seq, record.run_id, (told,))
    cx.emit(Fact(event_type=EventType.RUN_FINISHED, run_id=record.run_id, details=dict(data)), now)


def let_go(cx: Transaction, node_id: str, now: datetime) -> list[str]:
    """Let the runs of a node that has ended be interrupted, or cancelled when that was asked; return their ids."""
    held = cx.rows(_HELD, (node_id,))
    for seq, run_id, cancel_asked in held:
        if cancel_asked is None:
            cx.execute(_INTERRUPT, (seq,))
        else:
            _cancel(cx, seq, read_run(cx, run_id), cancel_asked, now)
        cx.announce()
    return [run_id for _, run_id, _ in held]
