"""Putting the report together: from records, never from what an agent claims."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shoal.kernel.run import StopReason
from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.board import Board
from shoal.orchestration.workflow.brief import Brief
from shoal.orchestration.workflow.ledger import Ledger
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.metrics import Tally, metrics_of
from shoal.orchestration.workflow.report import StepRecord, WorkflowReport
from shoal.orchestration.workflow.reporttext import ready_text

__all__ = ["Ending", "final_lines", "plain_summary", "report_of"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the work ended: without ``error`` it was done."""

    error: str | None = None
    stopped: StopReason | None = None


def report_of(
    brief: Brief, board: Board | None, logbook: Logbook, ledger: Ledger, ending: Ending | None, summary: str
) -> WorkflowReport:
    """Return the report; without *ending* that of work under way."""
    steps = () if board is None else _steps(board, logbook)
    last = None if board is None else board.last_measured()
    report = WorkflowReport(
        content=summary,
        success=ending is not None and ending.error is None,
        error=None if ending is None else ending.error,
        stopped=None if ending is None else ending.stopped,
        task=brief,
        plan=() if board is None else tuple(board.plan.steps),
        steps=steps,
        messages=tuple(logbook.messages),
        calls=tuple(call.record for call in logbook.calls),
        trace=tuple(logbook.trace),
        reviews=tuple(logbook.reviews),
        issues=() if board is None else ledger.seen(board.plan.order),
        conflicts=tuple(logbook.conflicts),
        recoveries=tuple(logbook.recoveries),
        escalations=tuple(logbook.escalations),
        files={} if board is None else board.files(),
        tests=None if last is None else last.tests,
        coverage=None if last is None else last.coverage,
        delay_seconds=0.0 if board is None else board.timeline.longest,
    )
    reasons = tuple(_not_ready(report, ending))
    metrics = metrics_of([Tally.of(report)])
    return msgspec.structs.replace(report, ready=not reasons, not_ready=reasons, metrics=metrics)


def _steps(board: Board, logbook: Logbook) -> tuple[StepRecord, ...]:
    due = board.timeline.due()
    used = logbook.usage_by_step()
    return tuple(card.record(due.get(card.step.id), used.get(card.step.id, Usage())) for card in board)


def _not_ready(report: WorkflowReport, ending: Ending | None) -> Iterator[str]:
    """Yield what is missing."""
    if not report.steps:
        yield "there is no plan" if ending is None or ending.error is None else ending.error
        return
    for record in report.steps:
        step = record.step
        if record.status == "failed":
            yield f"step {step.id} ({step.title}) failed: {record.error}"
        elif record.status != "completed":
            yield f"step {step.id} ({step.title}) is {record.status}"
        elif record.checks:
            yield f"step {step.id} ({step.title}): {'; '.join(record.checks)}"
    open_issues = [issue for issue in report.issues if issue.status == "open"]
    if open_issues:
        yield "open: " + ", ".join(f"{issue.id} {issue.severity} {issue.title}" for issue in open_issues)
    if any(_asked_for_tests(record) for record in report.steps):
        tests = report.tests
        if tests is None or not tests.all_passing:
            yield "the tests do not all pass"
        elif tests.source != "measured":
            yield "the tests were not run: their numbers are claimed"
    if ending is None:
        yield "the work has not come to its end"
    elif ending.error is not None and ending.stopped == "denied":
        yield ending.error


def _asked_for_tests(record: StepRecord) -> bool:
    expected = record.step.expected_output
    return expected is not None and bool(expected.tests)


def final_lines(report: WorkflowReport) -> tuple[str, ...]:
    """Return the lines of the final output."""
    return ("Aggregated results", "Final report", ready_text(report.ready, report.not_ready))


def plain_summary(report: WorkflowReport) -> str:
    """Return what came of each step, where the lead has written no summary."""
    lines = [
        f"{record.step.id}. {record.step.title} ({record.step.owner}): {_outcome(record)}" for record in report.steps
    ]
    return "\n".join(lines) or (report.error or "nothing was done")


def _outcome(record: StepRecord) -> str:
    return record.status if record.error is None else f"{record.status}: {record.error}"
