"""Runs: their steps, budgets, news and questions."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime

from shoal.kernel.clock import epoch
from shoal.kernel.run import Approval, Decision, RunEvent, RunRecord, RunStatus, RunStep
from shoal.store.sql import approvals, run_life, run_past
from shoal.store.sql.run_rows import RUN_COLUMNS, event_of, run_of, seq_of, steps_of
from shoal.store.sql.run_writer import SqlRunWriter
from shoal.store.sql.transaction import Reader

__all__ = ["SqlRuns"]

_EVENTS = """SELECT "offset", path, type, agent_name, data, at FROM run_events
    WHERE run = ? AND feed = ? AND "offset" > ? ORDER BY "offset" LIMIT ?"""
_OWN = "SELECT seq FROM runs WHERE run_id = ?"
_STREAM = "SELECT run FROM run_streams WHERE stream = ?"


class SqlRuns(SqlRunWriter):
    """``RunStore`` in SQL."""

    def decide(self, approval_id: str, decision: Decision, by: str, note: str, *, now: datetime) -> Awaitable[Approval]:
        """Decide a question, once."""
        return self._db.write(approvals.decide, approval_id, decision, by, note, now)

    def ask_cancel(self, run_id: str, reason: str, *, now: datetime) -> Awaitable[RunRecord]:
        """Ask that a run be cancelled; one that nobody carries out is cancelled at once."""
        return self._db.write(run_life.ask_cancel, self._db.drift(), run_id, reason, now)

    def fork(self, run_id: str, before: str, new_id: str, *, now: datetime) -> Awaitable[RunRecord]:
        """Make a run with the results of another that were recorded before a step."""
        return self._db.write(run_past.fork, run_id, before, new_id, now)

    def delete(self, run_id: str, *, now: datetime) -> Awaitable[None]:
        """Remove a run with all it has."""
        return self._db.write(run_past.delete, self._db.drift(), run_id, now)

    # readers

    def get(self, run_id: str) -> RunRecord:
        """Return one run."""
        return self._db.read(run_life.read_run, run_id)

    def search(
        self, *, status: RunStatus | None = None, pattern: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest first."""
        wanted = {"status": status and str(status), "pattern": pattern}
        chosen = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(f"{column} = :{column}" for column in chosen) or "true"
        sql = f"SELECT {RUN_COLUMNS} FROM runs WHERE {where} ORDER BY seq DESC LIMIT :limit"
        return [run_of(row) for row in self._db.read(Reader.rows, sql, {**chosen, "limit": limit})]

    def unheld(self, patterns: Sequence[str], *, now: datetime) -> list[RunRecord]:
        """Return runs of these patterns that somebody should go on with, oldest first."""
        return self._db.read(run_past.unheld, patterns, epoch(now))

    def steps(self, run_id: str) -> list[RunStep]:
        """Return its steps in order of recording."""
        return self._db.read(_steps, run_id)

    def result(self, run_id: str) -> object:
        """Return the recorded result, None when it has none."""
        return self._db.read(_result, run_id)

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return the news of a run, or of a stream of one, after an offset, in order."""
        return self._db.read(_events, run_id, after, limit)

    def approvals(self, run_id: str | None = None, *, undecided: bool = True) -> list[Approval]:
        """Return questions, oldest first."""
        return self._db.read(approvals.approvals, run_id, undecided)


def _steps(cx: Reader, run_id: str) -> list[RunStep]:
    return steps_of(cx, seq_of(cx, run_id))


def _result(cx: Reader, run_id: str) -> object:
    return run_life.result_of(cx, seq_of(cx, run_id))


def _events(cx: Reader, feed: str, after: int, limit: int) -> list[RunEvent]:
    run, name = cx.value(_OWN, (feed,)), ""
    if run is None:
        run, name = cx.value(_STREAM, (feed,)), feed
    return [event_of(row, feed) for row in cx.rows(_EVENTS, (run, name, after, limit))]
