"""The report of a run: built from records, never from what an agent claims."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from shoal.kernel.usage import Usage
from shoal.orchestration.results import Result
from shoal.orchestration.workflow.brief import Brief, WorkStep
from shoal.orchestration.workflow.conflict import ConflictRecord
from shoal.orchestration.workflow.delivery import Delivery, TestResult
from shoal.orchestration.workflow.message import WorkMessage
from shoal.orchestration.workflow.recovery import Recovery
from shoal.orchestration.workflow.review import Issue, Review
from shoal.orchestration.workflow.trace import TraceEntry
from shoal.orchestration.workflow.tracetext import trace_text
from shoal.orchestration.workflow.writing import report_from_json, report_json, write_report

__all__ = ["CallKind", "CallRecord", "Escalation", "ReviewRecord", "StepRecord", "StepStatus", "WorkflowReport"]

StepStatus = Literal["pending", "running", "completed", "failed", "skipped"]
CallKind = Literal["plan", "work", "fix", "review", "position", "resolution", "summary"]


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a step of the plan.

    Attributes:
        instance: the name of the agent whose work was taken last.
        attempts: calls of agents for it, reviews' own fixes not counted.
        reworks: how often its work was sent back, by a check or by a review.
        checks: why its last work was not accepted; empty: it was.
        review_scores: of a review, round by round.
        due_at: when it should have ended; moved by delays before it.
        duration_ms, usage: milliseconds from start to end; of all calls made at it.
        error: why it failed or was skipped.
    """

    step: WorkStep
    status: StepStatus = "pending"
    instance: str = ""
    attempts: int = 0
    reworks: int = 0
    delivery: Delivery | None = None
    checks: tuple[str, ...] = ()
    review_scores: tuple[int, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    duration_ms: float = 0.0
    usage: Usage = Usage()
    error: str | None = None


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of an agent: who, for what, how long, at what cost. ``message_id`` is empty for calls of the lead's own."""

    role: str
    instance: str
    kind: CallKind
    step_id: str = ""
    message_id: str = ""
    success: bool = True
    timed_out: bool = False
    seconds: float = 0.0
    usage: Usage = Usage()


class ReviewRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One review: at which step, of which round (from 1), by whom, and whether the work was approved, else why not."""

    step_id: str
    round: int
    reviewer: str
    review: Review
    works: tuple[str, ...] = ()
    approved: bool = False
    reasons: tuple[str, ...] = ()


class Escalation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What no agent of the team could do."""

    step_id: str
    agent: str
    reason: str
    at: datetime


class WorkflowReport(Result, frozen=True, kw_only=True, omit_defaults=True):
    """What a team made of a task, and how.

    Attributes:
        content: the lead's summary.
        task, plan, steps: what was asked; the plan; what became of each step.
        messages, calls, trace: what was given to whom; every call; the record of who said what.
        reviews, issues, conflicts, recoveries, escalations: what went otherwise than planned.
        files: text by path, as last handed in.
        tests, coverage: as last measured, else as claimed; percent.
        ready: all steps completed, all checks passed, no issue open, measured tests passing where asked for.
        delay_seconds: of the longest chain of delayed steps.
        metrics: by role (``Orchestrator.metrics``).
    """

    task: Brief
    plan: tuple[WorkStep, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    messages: tuple[WorkMessage, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    trace: tuple[TraceEntry, ...] = ()
    reviews: tuple[ReviewRecord, ...] = ()
    issues: tuple[Issue, ...] = ()
    conflicts: tuple[ConflictRecord, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    escalations: tuple[Escalation, ...] = ()
    files: dict[str, str] = {}  # noqa: RUF012  a struct copies it
    tests: TestResult | None = None
    coverage: float | None = None
    ready: bool = False
    not_ready: tuple[str, ...] = ()
    delay_seconds: float = 0.0
    metrics: dict[str, Any] = {}  # noqa: RUF012  as above

    def trace_text(self, arrow: str = "→") -> str:
        """Return the trace as a text, a block for each entry; *arrow* stands between sender and receiver."""
        return trace_text(self.trace, arrow)

    def to_markdown(self) -> str:
        """Return it as Markdown, in which what agents wrote is words only; its last line says whether all is ready."""
        # Inside: it reads conflicts, whose module needs this one.
        from shoal.orchestration.workflow.reporttext import report_markdown

        return report_markdown(self)

    def to_json(self) -> str:
        """Return it as JSON; what is as by default is left out."""
        return report_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkflowReport:
        """Return the report that ``to_json`` has written. Raises ValueError with the place of a fault."""
        return report_from_json(text, cls)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write it to *path*, as Markdown or JSON by its suffix ``.md`` or ``.json``, and return the path.

        It is written beside and renamed: a reader sees all of it, or what was there before.

        Raises:
            ValueError: another suffix.
            OSError: there is no such folder, it is one, or nothing may be written there.
        """
        return write_report(self, path)
