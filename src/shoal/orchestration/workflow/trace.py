"""The record of who said what to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

__all__ = ["TraceEntry", "TraceKind"]

TraceKind = Literal[
    "task_received", "work_assigned", "work_delivered", "work_refused", "code_run", "conflict_opened", "conflict_resolved",
    "health_check", "reassigned", "delay_notified", "timeline_adjusted", "logged", "late_answer", "escalated",
    "final_output",
]  # fmt: skip


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the record, and the event of a run that tells it (its type is the kind, its data this record).

    Attributes:
        seq, at: its place, from 1, and time.
        sender, receiver: roles, ``Orchestrator`` among them; receiver empty: said to nobody in particular.
        step_id, instance: which step; which agent of the role.
        task, context, input: one line each, of what is asked.
        output: the lines that were answered, or that say what was done.
        seconds: what a call took.
    """

    seq: int
    at: datetime
    kind: TraceKind
    sender: str = ""
    receiver: str = ""
    step_id: str = ""
    instance: str = ""
    task: str = ""
    context: str = ""
    input: str = ""
    output: tuple[str, ...] = ()
    seconds: float | None = None
