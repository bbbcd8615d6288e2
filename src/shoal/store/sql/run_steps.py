"""What a run writes while it is carried out: steps, costs and news."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.errors import LeaseLostError
from shoal.kernel.budget import Amount, Budget, Grant, Need
from shoal.kernel.ports import Hold, RunWrite
from shoal.kernel.run import RunEvent
from shoal.kernel.usage import Usage
from shoal.store.sql.accounts import chain, charge, limit, lose, reserve, settle, warn
from shoal.store.sql.run_rows import event_row, usage_of, usage_text

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Transaction

__all__ = ["add_usage", "check_hold", "forget", "note_seconds", "open_account", "reserve_for", "tell", "write_run"]

_HOLD = "SELECT seq, usage, status FROM runs WHERE run_id = ? AND node_id = ? AND hold = ?"
_STEP_COLUMNS = "run, key, kind, agent_name, input_sha256, output, error, usage, started_at, finished_at"
_STEP = f"""INSERT INTO run_steps ({_STEP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, key) DO NOTHING"""
_DROP_STEP = "DELETE FROM run_steps WHERE run = ? AND key = ?"
_HAS_RESULT = "SELECT finished_at IS NOT NULL FROM run_steps WHERE run = ? AND key = ?"
_USAGE = "UPDATE runs SET usage = ? WHERE seq = ?"
_SECONDS = "UPDATE runs SET seconds = :seconds WHERE seq = :run AND seconds < :seconds"
_EVENT = """INSERT INTO run_events (run, feed, "offset", path, type, agent_name, data, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_STREAM = "INSERT INTO run_streams (stream, run) VALUES (?, ?) ON CONFLICT (stream) DO NOTHING"
_FORGET = """DELETE FROM run_steps
    WHERE run = :run AND seq >= (SELECT seq FROM run_steps WHERE run = :run AND key = :key)
    AND key NOT IN (SELECT value FROM json_each(:keep))"""


def check_hold(cx: Transaction, hold: Hold) -> tuple[int, str | None, str]:
    """Return number, usage and status of a run. Raises LeaseLostError when somebody else may carry it out by now."""
    row = cx.one(_HOLD, (hold.run_id, hold.node_id, hold.token))
    if row is None:
        raise LeaseLostError(f"run {hold.run_id!r:.200} is no longer carried out by node {hold.node_id}")
    return row


def add_usage(cx: Transaction, run: int, usage: Usage, more: Usage | None) -> None:
    """Write the usage of a run with *more* added."""
    if more is not None and usage_text(more) is not None:
        cx.execute(_USAGE, (usage_text(usage + more), run))


def tell(cx: Transaction, run: int, run_id: str, events: Sequence[RunEvent]) -> None:
    """Write news of a run and of its streams."""
    for event in events:
        feed = event.run_id
        if feed == run_id:
            feed = ""
        else:
            cx.execute(_STREAM, (feed, run))
        cx.execute(_EVENT, (run, feed, *event_row(event)))
    if events:
        cx.announce()


def write_run(cx: Transaction, hold: Hold, write: RunWrite, row: tuple[Any, ...] | None, now: datetime) -> None:
    """Record a step, *row*, with its costs and its news."""
    run, usage, _ = check_hold(cx, hold)
    charged = () if write.charge is None else chain(cx, write.charge)
    step = write.step
    result = step is not None and step.finished_at is not None
    counted = step.usage if step is not None and row is not None and _record(cx, run, row) and result else None
    more = counted
    if counted is not None and charged:
        charge(cx, charged, Amount.of(counted).beyond(Amount.of(write.paid)))
    if write.settle is not None:
        if write.lost or (result and counted is None):
            lost = lose(cx, run, write.settle)
            more = lost if counted is None else counted
        else:
            settle(cx, run, write.settle, Amount.of(counted or Usage()))
    add_usage(cx, run, usage_of(usage), more)
    if write.seconds is not None:
        note_seconds(cx, run, write.seconds)
    warn(cx, write.warned)
    tell(cx, run, hold.run_id, write.events)
    for fact in write.facts:
        cx.emit(fact, now)


def note_seconds(cx: Transaction, run: int, seconds: float) -> None:
    """Keep a run's active time, unless a longer one is known."""
    cx.execute(_SECONDS, {"seconds": seconds, "run": run})


def _record(cx: Transaction, run: int, row: tuple[Any, ...]) -> bool:
    """Write a step unless it has a result; tell whether it was written."""
    if cx.execute(_STEP, (run, *row)):
        return True
    if cx.value(_HAS_RESULT, (run, row[0])):
        return False
    cx.execute(_DROP_STEP, (run, row[0]))  # a result comes after what was recorded before it
    cx.execute(_STEP, (run, *row))
    return True


def forget(cx: Transaction, hold: Hold, key: str, keep: str) -> None:
    """Remove a step and all that were recorded after it, but for those of the JSON list *keep*."""
    run, _, _ = check_hold(cx, hold)
    cx.execute(_FORGET, {"run": run, "key": key, "keep": keep})


def open_account(cx: Transaction, hold: Hold, account_id: str, parent: str | None, budget: Budget) -> None:
    """Make the account of a part's budget, or give it these limits."""
    run, _, _ = check_hold(cx, hold)
    limit(cx, account_id, run, parent, budget)


def reserve_for(cx: Transaction, hold: Hold, account_id: str, key: str, need: Need) -> Grant:
    """Reserve for a run; what an earlier reservation under the key has lost counts in its usage."""
    run, usage, _ = check_hold(cx, hold)
    granted, lost = reserve(cx, run, account_id, key, need)
    add_usage(cx, run, usage_of(usage), lost)
    return granted
