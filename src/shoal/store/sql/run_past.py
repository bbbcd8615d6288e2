"""What becomes of runs that nobody carries out: forks, removal, and which ones can be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shoal.errors import RunConflictError, RunNotFoundError
from shoal.kernel.clock import epoch
from shoal.kernel.payload import encode
from shoal.kernel.run import RunRecord, RunStatus
from shoal.kernel.usage import Usage
from shoal.store.sql.accounts import limit, lose_all
from shoal.store.sql.run_life import check_free, read_run
from shoal.store.sql.run_rows import INSERT_RUN, RUN_COLUMNS, run_of, run_row, seq_of, usage_of

if TYPE_CHECKING:
    from shoal.store.sql.database import Drift
    from shoal.store.sql.transaction import Reader, Row, Transaction

__all__ = ["delete", "fork", "prune_runs", "unheld"]

_KNOWN = "SELECT 1 FROM runs WHERE run_id = ?"
_PLACE = "SELECT seq FROM run_steps WHERE run = ? AND key = ?"
_USAGES = """SELECT usage FROM run_steps
    WHERE run = ? AND seq < ? AND finished_at IS NOT NULL AND usage IS NOT NULL"""
_COPY = """INSERT INTO run_steps
        (run, key, kind, agent_name, input_sha256, output, error, usage, started_at, finished_at)
    SELECT :copy, key, kind, agent_name, input_sha256, output, error, usage, started_at, finished_at FROM run_steps
    WHERE run = :run AND seq < :place AND finished_at IS NOT NULL ORDER BY seq"""
_UNHELD = f"""SELECT {RUN_COLUMNS} FROM runs
    WHERE finished_at IS NULL AND pattern IN (SELECT value FROM json_each(:patterns)) AND hold > 0
    AND NOT EXISTS (SELECT 1 FROM nodes
        WHERE nodes.node_id = runs.node_id AND nodes.lost = 0 AND nodes.lease_until > :now)
    AND (status = 'waiting' OR stopped IS NULL)
    AND NOT (status = 'waiting' AND EXISTS (SELECT 1 FROM approvals
        WHERE approvals.run = runs.seq AND decision IS NULL AND (expires_at IS NULL OR expires_at > :now)))
    ORDER BY seq"""
_PRUNABLE = "SELECT seq FROM runs WHERE finished_at < ? ORDER BY finished_at LIMIT ?"
_HOLDING = """SELECT DISTINCT run FROM reservations
    WHERE run IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) ORDER BY run"""
_REMOVE = (
    "DELETE FROM run_steps WHERE run = ?",
    "DELETE FROM run_results WHERE run = ?",
    "DELETE FROM run_events WHERE run = ?",
    "DELETE FROM run_streams WHERE run = ?",
    "DELETE FROM approvals WHERE run = ?",
    "DELETE FROM accounts WHERE run = ?",
    "DELETE FROM runs WHERE seq = ?",
)


def unheld(cx: Reader, patterns: Sequence[str], now: int) -> list[RunRecord]:
    """Return runs of these patterns that somebody should go on with, oldest first."""
    rows = cx.rows(_UNHELD, {"patterns": encode(list(patterns)).decode(), "now": now})
    return [run_of(row) for row in rows]


def fork(cx: Transaction, run_id: str, before: str, new_id: str, now: datetime) -> RunRecord:
    """Make a run with the results of another that were recorded before a step."""
    record = read_run(cx, run_id)
    run = seq_of(cx, run_id)
    place = cx.value(_PLACE, (run, before))
    if place is None:
        raise RunNotFoundError(f"run {run_id!r:.200} has no step {before!r:.300}", run_id=run_id)
    if cx.value(_KNOWN, (new_id,)):
        raise RunConflictError(f"run {new_id!r:.200} exists", run_id=new_id)
    usage = sum((usage_of(raw) for (raw,) in cx.rows(_USAGES, (run, place))), start=Usage())
    made = replace(
        record,
        run_id=new_id,
        status=RunStatus.INTERRUPTED,
        usage=usage,
        node_id=None,
        started_at=now,
        finished_at=None,
        error=None,
        stopped=None,
        seconds=0.0,
        parent_account=None,
        forked_from=run_id,
    )
    cx.execute(INSERT_RUN, run_row(made, hold=0))
    copy = seq_of(cx, new_id)
    cx.execute(_COPY, {"copy": copy, "run": run, "place": place})
    if made.budget is not None:
        limit(cx, new_id, copy, None, made.budget)
    return made


def delete(cx: Transaction, drift: Drift, run_id: str, now: datetime) -> None:
    """Remove a run that nobody carries out, with all it has."""
    check_free(cx, drift, read_run(cx, run_id), now)
    _remove(cx, [(seq_of(cx, run_id),)])


def prune_runs(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove up to *limit* runs that ended before *before*, with all they have."""
    rows = cx.rows(_PRUNABLE, (epoch(before), limit))
    _remove(cx, rows)
    return len(rows)


def _remove(cx: Transaction, runs: Sequence[Row]) -> None:
    for (run,) in cx.rows(_HOLDING, (encode([run for (run,) in runs]).decode(),)):
        lose_all(cx, run)
    for statement in _REMOVE:
        cx.executemany(statement, runs)
