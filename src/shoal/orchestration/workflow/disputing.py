"""What is held against an order, an issue or a decision: it becomes a conflict, and is decided on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shoal.kernel.scope import Scope
from shoal.orchestration.workflow.board import Card
from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position
from shoal.orchestration.workflow.conflicttext import is_decided
from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.job import Job
from shoal.orchestration.workflow.prompts import file_quotes

__all__ = ["Disputing"]


class _Point(NamedTuple):
    """What is held against something: whose view stands against it, and the issue it is about, if it is about one."""

    topic: str
    position: Position
    against: str
    issue: str = ""


class Disputing:
    """Settles what is disputed at the step *card*."""

    def __init__(self, job: Job, card: Card, place: Scope) -> None:
        self._job = job
        self._card = card
        self._place = place
        self._count = 0

    async def settle(self, delivery: Delivery, step: WorkStep) -> tuple[str, ...]:
        """Have every point of a delivery decided; return what the owner must change after that."""
        reasons = []
        for point in list(self._points(delivery, step)):
            record = await self._decide(point, delivery, step)
            self._job.logbook.conflicts.append(record)
            self._tell_decided(record)
            if record.winner == step.owner:
                if point.issue:
                    self._job.ledger.waive(point.issue, record.id)
            else:
                reasons.append(f"decided in {record.id}: {record.decision}")
        return tuple(reasons)

    def _points(self, delivery: Delivery, step: WorkStep) -> Iterator[_Point]:
        """Yield what is disputed and not yet decided."""
        records = self._job.decisions_for(self._card.step.id)
        issues = {issue.id: issue for issue in self._job.issues_for(self._card.step.id)}
        for dispute in delivery.disputed:
            issue = issues.get(dispute.issue)
            if issue is None or issue.status != "open" or is_decided(issue.title, records) is not None:
                continue
            position = Position(
                agent=step.owner, statement=dispute.statement, evidence=dispute.evidence, tags=dispute.tags
            )
            yield _Point(issue.title, position, issue.opened_by or self._other(step.owner), issue.id)
        for objection in delivery.objections:
            if is_decided(objection.topic, records) is not None:
                continue
            position = Position(
                agent=step.owner, statement=objection.statement, evidence=objection.evidence, tags=objection.tags
            )
            named = next((role for role in self._job.roles if role.casefold() == objection.against.casefold()), "")
            yield _Point(objection.topic, position, named if named not in ("", step.owner) else self._other(step.owner))

    def _other(self, owner: str) -> str:
        """Return whose view is heard against that of *owner*: whoever reviews, else the lead."""
        reviewers = [card.step.owner for card in self._job.board if card.step.is_review]
        return next((role for role in reviewers if role not in (owner, LEAD)), LEAD)

    async def _decide(self, point: _Point, delivery: Delivery, step: WorkStep) -> ConflictRecord:
        job = self._job
        self._count += 1
        number = f"c{self._count}"
        conflict = Conflict(
            id=f"C{self._card.step.id}.{self._count}",
            topic=point.topic,
            step_id=self._card.step.id,
            owner=step.owner,
            positions=(point.position,),
            requirements=(*job.brief.requirements, *step.requirements),
        )
        job.logbook.enter(
            f"{self._place.path}:{number}:opened",
            "conflict_opened",
            sender=step.owner,
            receiver=LEAD,
            step_id=self._card.step.id,
            task=point.topic,
            output=(point.position.statement,) if point.position.statement else (),
        )
        return await job.resolver.resolve(
            self._place.child(number),
            conflict,
            parties=(step.owner, point.against),
            implementer=step.owner,
            material=file_quotes(step.owner, delivery.files),
        )

    def _tell_decided(self, record: ConflictRecord) -> None:
        self._job.logbook.enter(
            f"{self._place.path}:{record.id}:decided",
            "conflict_resolved",
            sender=LEAD,
            step_id=self._card.step.id,
            task=record.topic,
            output=(f"Final Decision: {record.decision}", f"Result: {record.result}"),
        )
