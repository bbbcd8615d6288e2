"""What is held against an order, an issue or a decision: it becomes a conflict, and is decided on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shoal.kernel.scope import Scope
from shoal.orchestration.workflow.board import Card
from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position
from shoal.orchestration.workflow.conflicttext import is_decided
from shoal.orchestration.workflow.delivery import Delivery, Dispute, Objection
from shoal.orchestration.workflow.job import Job
from shoal.orchestration.workflow.prompts import file_quotes
from shoal.orchestration.workflow.review import Issue

__all__ = ["Disputing"]


class _Point(NamedTuple):
    """What is held against something: what stands against it, and the issue that it is about, if it is about one.

    A finding of a reviewer stands as his position, whether or not he answers when he is asked for evidence.
    """

    topic: str
    position: Position
    against: Position
    issue: Issue | None = None


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
        for point in (*self._disputes(delivery, step), *self._objections(delivery, step)):
            if point.against.agent == step.owner or self._is_decided(point):
                continue
            record = await self._decide(point, delivery, step)
            self._job.logbook.conflicts.append(record)
            self._tell_decided(record)
            if record.winner != step.owner:
                reasons.append(f"decided in {record.id}: {record.decision}")
            elif point.issue is not None:
                self._job.ledger.waive(point.issue, record.id, step=self._card.step.id)
        return tuple(reasons)

    def _is_decided(self, point: _Point) -> bool:
        records = self._job.decisions_for(self._card.step.id)
        subjects = (point.issue,) if point.issue is not None else (point.topic, point.position.statement)
        return any(subject and is_decided(subject, records) is not None for subject in subjects)

    def _disputes(self, delivery: Delivery, step: WorkStep) -> Iterator[_Point]:
        issues = {issue.id: issue for issue in self._job.issues_for(self._card.step.id)}
        for dispute in delivery.disputed:
            issue = issues.get(dispute.issue)
            if issue is None or issue.status != "open":
                continue
            finder = issue.opened_by or self._other(step.owner)
            yield _Point(
                issue.title, _position(step.owner, dispute), Position(agent=finder, statement=issue.title), issue
            )

    def _objections(self, delivery: Delivery, step: WorkStep) -> Iterator[_Point]:
        for objection in delivery.objections:
            named = next((role for role in self._job.roles if role.casefold() == objection.against.casefold()), "")
            other = named if named not in ("", step.owner) else self._other(step.owner)
            yield _Point(objection.topic, _position(step.owner, objection), Position(agent=other, statement=""))

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
            positions=(point.position, point.against) if point.against.statement else (point.position,),
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
            parties=(step.owner, point.against.agent),
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


def _position(owner: str, said: Dispute | Objection) -> Position:
    return Position(agent=owner, statement=said.statement, evidence=said.evidence, tags=said.tags)
