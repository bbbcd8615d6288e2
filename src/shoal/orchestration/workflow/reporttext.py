"""A report as people read it: Markdown in which nothing that an agent wrote can pass for a line of the report itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shoal.orchestration.workflow.conflicttext import conflict_text
from shoal.orchestration.workflow.delivery import TestResult
from shoal.orchestration.workflow.durations import delay_text, duration_text
from shoal.orchestration.workflow.lines import bounded_line, line_count
from shoal.orchestration.workflow.markdown import bullets, fenced, quoted, table, words
from shoal.orchestration.workflow.recoverytext import recovery_text
from shoal.orchestration.workflow.tracetext import trace_text

if TYPE_CHECKING:
    from shoal.orchestration.workflow.conflict import ConflictRecord
    from shoal.orchestration.workflow.recovery import Recovery
    from shoal.orchestration.workflow.report import StepRecord, WorkflowReport
    from shoal.orchestration.workflow.review import Issue

__all__ = ["coverage_text", "ready_text", "report_markdown", "outcome_text"]

_READY = "Ready for deployment"


def ready_text(ready: bool, reasons: Sequence[str]) -> str:
    """Return the last line of a report: ``Ready for deployment``, or ``Not ready: `` and the *reasons*."""
    return _READY if ready else f"Not ready: {'; '.join(reasons) or 'the work was not finished'}"


def outcome_text(tests: TestResult) -> str:
    """Return how *tests* ended: ``14 passed, measured`` or ``12 passed, 2 failed (test_login, test_expiry), claimed``."""
    failures = f" ({', '.join(tests.failures)})" if tests.failures else ""
    parts = [
        f"{tests.passed} passed",
        *([f"{tests.failed} failed{failures}"] if tests.failed else []),
        *([f"{tests.errors} with errors"] if tests.errors else []),
        *([f"{tests.skipped} skipped"] if tests.skipped else []),
        tests.source,
    ]
    return ", ".join(parts)


def coverage_text(coverage: float) -> str:
    """Return a coverage in percent: ``70 %``, ``80.1 %``."""
    return f"{round(coverage, 2):g} %"


def report_markdown(report: WorkflowReport) -> str:
    """Return *report* as Markdown; its last line says whether the work is ready, and if not, why."""
    parts = [f"# {words(bounded_line(report.task.task))}", *_sections(report)]
    parts.append(words(ready_text(report.ready, report.not_ready or ((report.error,) if report.error else ()))))
    return "\n\n".join(parts) + "\n"


def _sections(report: WorkflowReport) -> Iterator[str]:
    made = (
        ("", _numbers(report)),
        ("Task", _task(report)),
        ("Summary", quoted(report.content)),
        ("Steps", _steps(report.steps)),
        ("Issues", _issues(report.issues)),
        ("Reviews", _reviews(report)),
        ("Conflicts", "\n\n".join(_conflict(each) for each in report.conflicts)),
        ("Recoveries", "\n\n".join(_recovery(each) for each in report.recoveries)),
        ("Escalations", bullets(f"step {each.step_id}, {each.agent}: {each.reason}" for each in report.escalations)),
        ("Files", _files(report.files)),
        ("Warnings", bullets(report.warnings)),
        ("Metrics", _metrics(report)),
        ("Trace", fenced(trace_text(report.trace)) if report.trace else ""),
    )
    for title, text in made:
        if text:
            yield f"## {title}\n\n{text}" if title else text


def _numbers(report: WorkflowReport) -> str:
    done = sum(record.status == "completed" for record in report.steps)
    left = sum(issue.status == "open" for issue in report.issues)
    used = report.usage
    rows = [
        ("ready", "yes" if report.ready else "no"),
        *([("stopped", str(report.stopped))] if report.stopped else []),
        *([("error", report.error)] if report.error else []),
        ("steps completed", f"{done} of {len(report.steps)}"),
        ("reworks", str(sum(record.reworks for record in report.steps))),
        ("issues", f"{len(report.issues)}, {left} open"),
        *([("tests", outcome_text(report.tests))] if report.tests is not None else []),
        *([("coverage", coverage_text(report.coverage))] if report.coverage is not None else []),
        ("delay", delay_text(report.delay_seconds)),
        ("model calls, tokens", f"{used.calls}, {used.tokens}"),
        ("cost", _cost(used.cost)),
        ("time", duration_text(report.total_duration_ms / 1000)),
        *([("run", report.run_id)] if report.run_id else []),
    ]
    return table(("", ""), rows)


def _cost(usd: float) -> str:
    return f"{usd:.4f} USD"


def _task(report: WorkflowReport) -> str:
    brief = report.task
    parts = [quoted(brief.task)]
    if brief.requirements:
        parts += ["Requirements:", bullets(brief.requirements)]
    if brief.known:
        parts += ["Context:", fenced(_json(brief.known), "json")]
    return "\n\n".join(parts)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _steps(steps: Sequence[StepRecord]) -> str:
    head = ("id", "step", "owner", "agent", "status", "calls", "reworks", "scores", "time", "cost", "why not")
    return table(head, map(_step, steps)) if steps else ""


def _step(record: StepRecord) -> tuple[str, ...]:
    step = record.step
    return (
        step.id, step.title, step.owner, record.instance, record.status, str(record.attempts), str(record.reworks),
        ", ".join(map(str, record.review_scores)), duration_text(record.duration_ms / 1000), _cost(record.usage.cost),
        record.error or "; ".join(record.checks),
    )  # fmt: skip


def _issues(issues: Sequence[Issue]) -> str:
    rows = [
        (each.id, each.severity, each.title, f"{each.file}:{each.line}" if each.line is not None else each.file,
         f"{each.status} by {each.conflict_id}" if each.conflict_id else each.status, each.opened_by)
        for each in issues
    ]  # fmt: skip
    return table(("id", "severity", "issue", "where", "status", "found by"), rows) if rows else ""


def _reviews(report: WorkflowReport) -> str:
    rows = [
        (each.step_id, str(each.round), each.reviewer, ", ".join(each.works), f"{each.review.score}/100",
         "approved" if each.approved else f"not approved: {'; '.join(each.reasons)}".rstrip(": "))
        for each in report.reviews
    ]  # fmt: skip
    return table(("step", "round", "reviewer", "work of steps", "score", "outcome"), rows) if rows else ""


def _conflict(record: ConflictRecord) -> str:
    parts = [f"### {words(record.id)}: {words(bounded_line(record.topic))}", fenced(conflict_text(record))]
    if record.rule:
        parts.append(f"Decided by: {words(record.rule)}")
    evidence = [f"{each.agent}: {said}" for each in record.positions for said in each.evidence]
    dissent = [f"{each.agent}: {each.statement}" for each in record.dissent]
    for name, lines in (("Evidence", evidence), ("Requirements", record.requirements), ("Dissent", dissent),
                        ("Notes", record.notes)):  # fmt: skip
        if lines:
            parts += [f"{name}:", bullets(lines)]
    return "\n\n".join(parts)


def _recovery(recovery: Recovery) -> str:
    parts = [f"### Step {words(recovery.step_id)}: {words(recovery.instance)}", fenced(recovery_text(recovery))]
    if texts := [each.text for each in recovery.actions if each.text]:
        parts.append(bullets(texts))
    return "\n\n".join(parts)


def _files(files: dict[str, str]) -> str:
    rows = [(path, str(line_count(text)), str(len(text.encode(errors="replace")))) for path, text in files.items()]
    return table(("file", "lines", "bytes"), rows) if rows else ""


def _metrics(report: WorkflowReport) -> str:
    return fenced(_json(report.metrics), "json") if report.metrics else ""
