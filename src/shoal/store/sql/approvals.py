"""Questions that a person decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.errors import ApprovalNotFoundError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Hold
from shoal.kernel.run import Approval, RunEvent, RunStatus
from shoal.store.sql.run_rows import APPROVAL_COLUMNS, INSERT_APPROVAL, approval_of
from shoal.store.sql.run_steps import check_hold, tell

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["approval", "approvals", "ask", "decide", "resume"]

_GET = f"SELECT {APPROVAL_COLUMNS} FROM approvals WHERE id = ?"
_STATUS = "UPDATE runs SET status = ? WHERE seq = ?"
_DECIDE = """UPDATE approvals SET decision = ?, decided_by = ?, decided_at = ?, note = ?
    WHERE id = ? AND decision IS NULL"""


def approval(cx: Reader, approval_id: str) -> Approval:
    """Return one question. Raises ApprovalNotFoundError."""
    row = cx.one(_GET, (approval_id,))
    if row is None:
        raise ApprovalNotFoundError(f"there is no approval {approval_id!r:.200}")
    return approval_of(row)


def approvals(cx: Reader, run_id: str | None, undecided: bool) -> list[Approval]:
    """Return questions, oldest first."""
    conditions = ["true"]
    if run_id is not None:
        conditions.append("run = (SELECT seq FROM runs WHERE run_id = :run_id)")
    if undecided:
        conditions.append("decision IS NULL")
    where = " AND ".join(conditions)
    rows = cx.rows(f"SELECT {APPROVAL_COLUMNS} FROM approvals WHERE {where} ORDER BY seq", {"run_id": run_id})
    return [approval_of(row) for row in rows]


def ask(
    cx: Transaction, hold: Hold, row: tuple[Any, ...], asked: Approval, events: Sequence[RunEvent], now: datetime
) -> Approval:
    """Ask a person; *row* is the question if it is new."""
    run, _, _ = check_hold(cx, hold)
    known = cx.one(_GET, (asked.id,))
    if known is None:
        cx.execute(INSERT_APPROVAL, (run, *row))
        _tell(cx, EventType.APPROVAL_ASKED, asked, {"expires_at": asked.expires_at}, now)
    else:
        asked = approval_of(known)
    if asked.decision is None:
        cx.execute(_STATUS, (str(RunStatus.WAITING), run))
    tell(cx, run, hold.run_id, events)
    cx.announce()
    return asked


def resume(cx: Transaction, hold: Hold, events: Sequence[RunEvent]) -> None:
    """Let a run that was waiting be running again."""
    run, _, _ = check_hold(cx, hold)
    cx.execute(_STATUS, (str(RunStatus.RUNNING), run))
    tell(cx, run, hold.run_id, events)


def decide(cx: Transaction, approval_id: str, decision: str, by: str, note: str, now: datetime) -> Approval:
    """Decide a question that is undecided."""
    asked = approval(cx, approval_id)
    if asked.decision is not None:
        return asked
    cx.execute(_DECIDE, (decision, by or None, epoch(now), note or None, approval_id))
    _tell(cx, EventType.APPROVAL_GIVEN, asked, {"decision": decision, "by": by, "note": note}, now)
    return approval(cx, approval_id)


def _tell(cx: Transaction, kind: EventType, asked: Approval, more: dict[str, object], now: datetime) -> None:
    details: dict[str, object] = {
        "id": asked.id, "kind": asked.kind, "step": asked.step, "agent_name": asked.agent_name, "tool": asked.tool,
        **more,
    }  # fmt: skip
    cx.emit(Fact(event_type=kind, run_id=asked.run_id, details=details), now)
