"""Runs: the records of one execution of an orchestration, which models and patterns share."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from shoal import errors
from shoal.kernel.budget import Budget
from shoal.kernel.failure import Failure, RemoteError
from shoal.kernel.usage import Usage

__all__ = [
    "ENDED",
    "FINISHED",
    "Approval",
    "ApprovalKind",
    "Decision",
    "Effect",
    "Handoff",
    "RunEvent",
    "RunEventType",
    "RunOptions",
    "RunRecord",
    "RunStatus",
    "RunStep",
    "StepFailure",
    "StopReason",
    "Teammate",
    "Teammates",
    "current_teammates",
]

StopReason = Literal["timeout", "budget", "limit", "loop", "no_progress", "cancelled", "waiting", "denied", "error"]
"""Why a pattern ended before its natural end."""

Effect = Literal["repeat", "keyed", "once"]
"""What becomes of a step whose result a crash hid: it is done again; done again with the same key; never done again."""


class RunStatus(StrEnum):
    """Where a run stands. ``interrupted``: nobody carries it out, and it can go on."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINISHED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED})
"""The states in which a run has its result: the same id again gives it and calls nothing."""

ENDED = FINISHED | {RunStatus.CANCELLED}
"""The states in which nobody goes on with a run without being asked; such runs are removed when they are old."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store knows of a run.

    usage: of all its steps, added exactly.
    node_id: who carries it out now, None: nobody.
    parent_account: the account of another run's budget above this one's, for work done for that run elsewhere.
    seconds: active time, of earlier lives.
    stopped: why it ended before its natural end.
    """

    run_id: str
    pattern: str
    input: object
    status: RunStatus = RunStatus.RUNNING
    budget: Budget | None = None
    usage: Usage = Usage()
    label: str = ""
    node_id: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    stopped: StopReason | None = None
    user_id: str = "default"
    context: str = ""
    seed: int = 0
    seconds: float = 0.0
    parent_account: str | None = None
    forked_from: str | None = None


class StepFailure(Failure, frozen=True, kw_only=True, omit_defaults=True):
    """How a step failed, with what its error has to say: replay raises its like."""

    attributes: dict[str, Any] = {}  # noqa: RUF012  a struct copies it

    @classmethod
    def of_step(cls, error: BaseException) -> StepFailure:
        """Describe *error* without its traceback, with those of its attributes that are plain values."""
        failure = Failure.brief(error)
        plain: dict[str, Any] = {
            name: value
            for name, value in vars(error).items()
            if not name.startswith("_") and (value is None or isinstance(value, (str, int, float, bool)))
        }
        return cls(error_type=failure.error_type, message=failure.message, bases=failure.bases, attributes=plain)

    def revive(self) -> Exception:
        """Return an error like it: a class of ``shoal.errors`` by its name, with its attributes, else RemoteError."""
        known = getattr(errors, self.error_type, None)
        if not (isinstance(known, type) and issubclass(known, errors.ShoalError)):
            return RemoteError(self.error_type, self.message, bases=self.bases)
        error = known.__new__(known)
        error.args = (self.message,)
        error.__dict__.update(self.attributes)
        return error


class RunStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recorded effect of a run.

    key: its place, segments joined by ``/``.
    kind: model, tool, chat, call, transform, route …
    input_sha256: of what went in; another one on replay is RunChangedError.
    output: a JSON value; None for one that failed, or whose end is not known (an intent: ``finished_at`` is None).
    error: how it failed; a time-out is one, and replay gives the same.
    """

    key: str
    kind: str
    agent_name: str = ""
    input_sha256: str = ""
    output: object = None
    error: StepFailure | None = None
    usage: Usage = Usage()
    started_at: datetime
    finished_at: datetime | None = None


class RunEventType(StrEnum):
    """What happened in a run."""

    RUN_STARTED = "run_started"
    STEP_STARTED = "step_started"
    STEP_FINISHED = "step_finished"
    STEP_FAILED = "step_failed"
    TEXT = "text"
    TOOL_STARTED = "tool_started"
    TOOL_FINISHED = "tool_finished"
    APPROVAL_ASKED = "approval_asked"
    APPROVAL_GIVEN = "approval_given"
    PLAN = "plan"
    MESSAGE = "message"
    HANDOFF = "handoff"
    BUDGET_WARNING = "budget_warning"
    BUDGET_EXHAUSTED = "budget_exhausted"
    LOOP_DETECTED = "loop_detected"
    CONTEXT_CUT = "context_cut"
    TASK_RECEIVED = "task_received"
    WORK_ASSIGNED = "work_assigned"
    WORK_DELIVERED = "work_delivered"
    WORK_REFUSED = "work_refused"
    CODE_RUN = "code_run"
    CONFLICT_OPENED = "conflict_opened"
    CONFLICT_RESOLVED = "conflict_resolved"
    HEALTH_CHECK = "health_check"
    REASSIGNED = "reassigned"
    DELAY_NOTIFIED = "delay_notified"
    TIMELINE_ADJUSTED = "timeline_adjusted"
    LOGGED = "logged"
    LATE_ANSWER = "late_answer"
    ESCALATED = "escalated"
    FINAL_OUTPUT = "final_output"
    RUN_FINISHED = "run_finished"


class RunEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of news of a run. Offsets rise by one within it, from 1; a reader goes on after any of them.

    path: the step or the part of the run that it is about.
    """

    offset: int
    run_id: str
    path: str
    type: str
    agent_name: str = ""
    data: dict[str, Any] = {}
    at: datetime


ApprovalKind = Literal["tool", "outcome", "budget", "plan", "final"]
Decision = Literal["approved", "denied", "expired"]


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question that a person decides.

    sha256: of run, step, tool and canonical arguments: other arguments ask anew.
    decision: ``approved``, ``denied``, ``expired``; None while nobody has decided.
    """

    id: str
    run_id: str
    step: str
    agent_name: str = ""
    kind: ApprovalKind = "tool"
    tool: str = ""
    arguments: object = None
    sha256: str = ""
    asked_at: datetime
    expires_at: datetime | None = None
    decision: Decision | None = None
    decided_by: str = ""
    decided_at: datetime | None = None
    note: str = ""


class Handoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent's answer that another one goes on: *to* whom, with which *message*, and why."""

    to: str
    message: str = ""
    reason: str = ""
    from_agent: str | None = None


class Teammate(msgspec.Struct, frozen=True, omit_defaults=True):
    """To whom an agent may hand over: a name, and for what."""

    name: str
    role: str = ""


class Teammates(msgspec.Struct, frozen=True):
    """Those to whom the agent at *place*, a path of the run, may hand over; agents further down may not."""

    place: str
    members: tuple[Teammate, ...]


current_teammates: ContextVar[Teammates | None] = ContextVar("shoal_teammates", default=None)
"""What a team offers the agent that it calls. The agent's answer has a ``handoff`` then, if it makes one."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How ``runtime.run`` carries a run out.

    Args:
        on_wait: at a question for a person ``wait``, or ``return`` a result with ``stopped="waiting"``.
        on_change: a recorded step with another input is an ``error``, or it and all after it are done anew (``rerun``).
        seed: of jitter and of seeded orders; None: drawn.
        label: a word for people.
        tokens: whether text is told as it comes.

    Raises:
        ValueError: a field, its value and what is allowed.
    """

    on_wait: Literal["wait", "return"] = "wait"
    on_change: Literal["error", "rerun"] = "error"
    seed: int | None = None
    label: str = ""
    tokens: bool = True

    def __post_init__(self) -> None:
        if self.on_wait not in ("wait", "return"):
            raise ValueError(f"RunOptions(on_wait={self.on_wait!r:.80}): it must be 'wait' or 'return'")
        if self.on_change not in ("error", "rerun"):
            raise ValueError(f"RunOptions(on_change={self.on_change!r:.80}): it must be 'error' or 'rerun'")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise ValueError(f"RunOptions(seed={self.seed!r:.80}): it must be a whole number, or None")
        if not isinstance(self.label, str):
            raise ValueError(f"RunOptions(label={self.label!r:.80}): it must be text")
        if not isinstance(self.tokens, bool):
            raise ValueError(f"RunOptions(tokens={self.tokens!r:.80}): it must be True or False")
