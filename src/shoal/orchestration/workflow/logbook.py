"""What one run of an orchestrator keeps on record, and tells."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from shoal.kernel.run import RunEventType
from shoal.kernel.scope import Scope
from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.conflict import ConflictRecord
from shoal.orchestration.workflow.message import WorkMessage
from shoal.orchestration.workflow.recovery import Recovery
from shoal.orchestration.workflow.replaying import Past
from shoal.orchestration.workflow.report import CallKind, CallRecord, Escalation, ReviewRecord
from shoal.orchestration.workflow.trace import TraceEntry, TraceKind

__all__ = ["CallNote", "Logbook"]


class CallNote:
    """A call of an agent. Its cost is read when it is reported: an answer that comes late costs, too."""

    def __init__(self, place: Scope, role: str, instance: str, kind: CallKind, step_id: str, message_id: str) -> None:
        self._place = place
        self._record = CallRecord(
            role=role, instance=instance, kind=kind, step_id=step_id, message_id=message_id, success=False
        )

    def ended(self, *, success: bool, timed_out: bool, seconds: float) -> None:
        """Say how it went."""
        self._record = msgspec.structs.replace(self._record, success=success, timed_out=timed_out, seconds=seconds)

    @property
    def step_id(self) -> str:
        """Of the step for which it was made."""
        return self._record.step_id

    @property
    def usage(self) -> Usage:
        """What it has used so far."""
        return self._place.usage

    @property
    def record(self) -> CallRecord:
        """The record of it."""
        return msgspec.structs.replace(self._record, usage=self._place.usage)


class Logbook:
    """The records of one run at *scope*."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._clock = scope.run.clock
        self._told: set[str] = set()  # by earlier lives of the run
        self.past = Past(scope.run)
        self.trace: list[TraceEntry] = []
        self.messages: list[WorkMessage] = []
        self.calls: list[CallNote] = []
        self.reviews: list[ReviewRecord] = []
        self.conflicts: list[ConflictRecord] = []
        self.recoveries: list[Recovery] = []
        self.escalations: list[Escalation] = []

    async def open(self) -> None:
        """Learn what was told before, so that nothing is told twice."""
        run = self._scope.run
        if run.recorded:
            past = await run.feeds.past(run.run_id)
            self._told = {str(event.data.get("key")) for event in past if event.path.startswith(self._scope.path)}

    def enter(self, key: str, kind: TraceKind, *, at: datetime | None = None, **fields: Any) -> None:
        """Put an entry into the trace, and tell it; *key* is what it is known by in all lives of the run."""
        entry = TraceEntry(seq=len(self.trace) + 1, at=at or self._clock.now(), kind=kind, **fields)
        self.trace.append(entry)
        self.tell(RunEventType(kind), key, entry.instance or entry.sender, msgspec.to_builtins(entry))

    def tell(self, kind: RunEventType, key: str, agent_name: str, data: dict[str, Any]) -> None:
        """Tell news, unless an earlier life of the run has."""
        if key not in self._told:
            self._scope.run.feed.tell(self._scope.path, kind, agent_name, {"key": key, **data})

    def call(self, place: Scope, role: str, instance: str, kind: CallKind, step_id: str, message_id: str) -> CallNote:
        """Begin the record of a call."""
        note = CallNote(place, role, instance, kind, step_id, message_id)
        self.calls.append(note)
        return note

    def usage_by_step(self) -> dict[str, Usage]:
        """Return what the calls of each step have used."""
        found: dict[str, Usage] = {}
        for call in self.calls:
            found[call.step_id] = found.get(call.step_id, Usage()) + call.usage
        return found

    def escalate(self, key: str, step_id: str, role: str, reason: str) -> None:
        """Record what nobody of the team could do."""
        at = self._clock.now()
        self.escalations.append(Escalation(step_id=step_id, agent=role, reason=reason, at=at))
        self.enter(key, "escalated", at=at, sender=LEAD, step_id=step_id, output=(reason,))
