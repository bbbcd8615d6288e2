"""Runs and what belongs to them as rows, and rows as records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import RunNotFoundError
from shoal.kernel.budget import Budget
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.payload import decode, encode
from shoal.kernel.run import Approval, RunEvent, RunRecord, RunStatus, RunStep, StepFailure
from shoal.kernel.usage import Usage
from shoal.store.sql.records import moment

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader

__all__ = [
    "APPROVAL_COLUMNS",
    "INSERT_APPROVAL",
    "INSERT_RUN",
    "RUN_COLUMNS",
    "approval_of",
    "approval_row",
    "event_of",
    "event_row",
    "run_of",
    "run_row",
    "seq_of",
    "step_of",
    "step_row",
    "steps_of",
    "usage_of",
    "usage_text",
]

Row = tuple[Any, ...]

RUN_COLUMNS = """run_id, pattern, input, status, budget, usage, label, node_id, started_at, finished_at, error, stopped,
    user_id, context, seed, seconds, parent_account, forked_from"""
INSERT_RUN = f"INSERT INTO runs ({RUN_COLUMNS}, hold) VALUES ({', '.join('?' * 19)})"
APPROVAL_COLUMNS = """id, (SELECT run_id FROM runs WHERE runs.seq = approvals.run), step, agent_name, kind, tool,
    arguments, sha256, asked_at, expires_at, decision, decided_by, decided_at, note"""
INSERT_APPROVAL = f"""INSERT INTO approvals (run, id, step, agent_name, kind, tool, arguments, sha256, asked_at,
    expires_at, decision, decided_by, decided_at, note) VALUES ({", ".join("?" * 14)})"""
_SEQ = "SELECT seq FROM runs WHERE run_id = ?"
_STEPS = """SELECT key, kind, agent_name, input_sha256, output, error, usage, started_at, finished_at FROM run_steps
    WHERE run = ? ORDER BY seq"""
_STATUS = {str(status): status for status in RunStatus}
_NOTHING = Usage()
_budget = msgspec.json.Decoder(Budget).decode
_usage = msgspec.json.Decoder(Usage).decode
_failure = msgspec.json.Decoder(StepFailure).decode


def seq_of(cx: Reader, run_id: str) -> int:
    """Return the number of a run. Raises RunNotFoundError."""
    found = cx.value(_SEQ, (run_id,))
    if found is None:
        raise RunNotFoundError(f"there is no run {run_id!r:.200}", run_id=run_id)
    return int(found)


def usage_text(usage: Usage) -> str | None:
    """Return a usage as it is stored: None for an empty one."""
    return None if usage == _NOTHING else encode(usage).decode()


def usage_of(raw: str | None) -> Usage:
    """Return the usage of a column."""
    return _NOTHING if raw is None else _usage(raw)


def _json(value: object) -> str | None:
    return None if value is None else encode(value).decode()


def run_row(record: RunRecord, *, hold: int) -> Row:
    """Return the parameters of ``INSERT_RUN``."""
    return (
        record.run_id, record.pattern, encode(record.input).decode(), str(record.status), _json(record.budget),
        usage_text(record.usage), record.label or None, record.node_id, epoch(record.started_at),
        moment(record.finished_at), record.error, record.stopped, record.user_id, record.context or None,
        str(record.seed), record.seconds, record.parent_account, record.forked_from, hold,
    )  # fmt: skip


def run_of(row: Sequence[Any]) -> RunRecord:
    """Return the run of a row of ``RUN_COLUMNS``."""
    (
        run_id, pattern, given, status, budget, usage, label, node_id, started_at, finished_at, error, stopped, user_id,
        context, seed, seconds, parent_account, forked_from,
    ) = row  # fmt: skip
    return RunRecord(
        run_id=run_id,
        pattern=pattern,
        input=decode(given),
        status=_STATUS[status],
        budget=None if budget is None else _budget(budget),
        usage=usage_of(usage),
        label=label or "",
        node_id=node_id,
        started_at=from_epoch(started_at),
        finished_at=_time(finished_at),
        error=error,
        stopped=stopped,
        user_id=user_id,
        context=context or "",
        seed=int(seed),
        seconds=seconds,
        parent_account=parent_account,
        forked_from=forked_from,
    )


def step_row(step: RunStep) -> Row:
    """Return what is stored of a step, behind the number of its run."""
    return (
        step.key, step.kind, step.agent_name or None, step.input_sha256 or None, _json(step.output), _json(step.error),
        usage_text(step.usage), epoch(step.started_at), moment(step.finished_at),
    )  # fmt: skip


def step_of(row: Row) -> RunStep:
    """Return the step of a row."""
    key, kind, agent_name, input_sha256, output, error, usage, started_at, finished_at = row
    return RunStep(
        key=key,
        kind=kind,
        agent_name=agent_name or "",
        input_sha256=input_sha256 or "",
        output=None if output is None else decode(output),
        error=None if error is None else _failure(error),
        usage=usage_of(usage),
        started_at=from_epoch(started_at),
        finished_at=_time(finished_at),
    )


def steps_of(cx: Reader, run: int) -> list[RunStep]:
    """Return the steps of a run in order of recording."""
    return [step_of(row) for row in cx.rows(_STEPS, (run,))]


def event_row(event: RunEvent) -> Row:
    """Return what is stored of an event, behind the number of its run and its feed."""
    return (
        event.offset, event.path, str(event.type), event.agent_name or None,
        encode(event.data).decode() if event.data else None, epoch(event.at),
    )  # fmt: skip


def event_of(row: Row, feed: str) -> RunEvent:
    """Return the event of a row."""
    offset, path, kind, agent_name, data, at = row
    return RunEvent(
        offset=offset,
        run_id=feed,
        path=path,
        type=kind,
        agent_name=agent_name or "",
        data=decode(data) if data else {},
        at=from_epoch(at),
    )


def approval_row(approval: Approval) -> Row:
    """Return the parameters of ``INSERT_APPROVAL`` behind the number of its run."""
    return (
        approval.id, approval.step, approval.agent_name or None, approval.kind, approval.tool or None,
        _json(approval.arguments), approval.sha256, epoch(approval.asked_at), moment(approval.expires_at),
        approval.decision, approval.decided_by or None, moment(approval.decided_at), approval.note or None,
    )  # fmt: skip


def approval_of(row: Row) -> Approval:
    """Return the question of a row of ``APPROVAL_COLUMNS``."""
    (
        approval_id, run_id, step, agent_name, kind, tool, arguments, sha256, asked_at, expires_at, decision,
        decided_by, decided_at, note,
    ) = row  # fmt: skip
    return Approval(
        id=approval_id,
        run_id=run_id,
        step=step,
        agent_name=agent_name or "",
        kind=kind,
        tool=tool or "",
        arguments=None if arguments is None else decode(arguments),
        sha256=sha256,
        asked_at=from_epoch(asked_at),
        expires_at=_time(expires_at),
        decision=decision,
        decided_by=decided_by or "",
        decided_at=_time(decided_at),
        note=note or "",
    )


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else from_epoch(micros)
