"""Where each step of a plan stands, and what those who come after it can see of it.

What a step sees is a matter of the plan alone: what was handed in by those it depends on, at any depth. Steps beside it
change nothing for it, in whichever order they end; so a run that is taken up again asks the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush

import msgspec

from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.brief import WorkStep
from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.plan import Plan
from shoal.orchestration.workflow.prompts import Handed
from shoal.orchestration.workflow.report import StepRecord, StepStatus
from shoal.orchestration.workflow.timeline import Timeline

__all__ = ["Board", "Card"]


class Card:
    """Where one step stands.

    Attributes:
        handed: what those after it see that its owner handed in.
        files: what those after it see of files: of work its own, of a review those that were fixed for it.
        latest: its work as it stands now, fixes by later reviews included.
        delays: what those after it are told of delays here.
    """

    def __init__(self, step: WorkStep) -> None:
        self.step = step
        self.status: StepStatus = "pending"
        self.instance = ""
        self.attempts = 0
        self.reworks = 0
        self.handed: Delivery | None = None
        self.files: dict[str, str] = {}
        self.latest: Delivery | None = None
        self.checks: tuple[str, ...] = ()
        self.scores: list[int] = []
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.error: str | None = None
        self.delays: list[str] = []

    @property
    def over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ("completed", "failed", "skipped")

    def record(self, due_at: datetime | None, usage: Usage) -> StepRecord:
        """Return it as the report has it."""
        took = None if self.started_at is None or self.finished_at is None else self.finished_at - self.started_at
        return StepRecord(
            step=self.step,
            status=self.status,
            instance=self.instance,
            attempts=self.attempts,
            reworks=self.reworks,
            delivery=self.latest,
            checks=self.checks,
            review_scores=tuple(self.scores),
            started_at=self.started_at,
            finished_at=self.finished_at,
            due_at=due_at,
            duration_ms=0.0 if took is None else took.total_seconds() * 1000,
            usage=usage,
            error=self.error,
        )


class Board:
    """The steps of one run."""

    def __init__(self, plan: Plan, timeline: Timeline) -> None:
        self.plan = plan
        self.timeline = timeline
        self.cards = {step.id: Card(step) for step in plan.steps}
        self._before: dict[str, tuple[str, ...]] = {}
        self._places = {step.id: place for place, step in enumerate(plan.steps)}
        self._ranks = {step_id: rank for rank, step_id in enumerate(plan.order)}
        self._followers: dict[str, list[str]] = {}
        self._waiting = {step.id: len(set(step.depends_on)) for step in plan.steps}
        for step in plan.steps:
            for each in set(step.depends_on):
                self._followers.setdefault(each, []).append(step.id)
        self._ready = [self._places[each] for each, count in self._waiting.items() if not count]  # a heap

    def __iter__(self) -> Iterator[Card]:
        return iter(self.cards.values())

    def before(self, step_id: str) -> tuple[str, ...]:
        """Return the ids of all steps that must end before a step begins, in the order of the work."""
        known = self._before.get(step_id)
        if known is None:
            found: set[str] = set()
            left = list(self.cards[step_id].step.depends_on)
            while left:
                each = left.pop()
                if each not in found:
                    found.add(each)
                    left += self.cards[each].step.depends_on
            known = self._before[step_id] = tuple(sorted(found, key=self._ranks.__getitem__))
        return known

    def up_to(self, step_id: str) -> tuple[str, ...]:
        """Return the ids of all steps that must end before a step begins, and its own, in the order of the work."""
        return (*self.before(step_id), step_id)

    def delays_before(self, step_id: str) -> list[str]:
        """Return what a step is told of delays."""
        return [told for each in self.before(step_id) for told in self.cards[each].delays]

    def files_before(self, step_id: str) -> dict[str, str]:
        """Return the files that a step finds."""
        found: dict[str, str] = {}
        for each in self.before(step_id):
            found |= self.cards[each].files
        return found

    def handed_to(self, step_id: str) -> list[Handed]:
        """Return what a step is given of those it depends on."""
        found = []
        for each in self.cards[step_id].step.depends_on:
            card = self.cards[each]
            if card.handed is not None:
                found.append(
                    Handed(role=card.step.owner, title=card.step.title, delivery=card.handed, files=card.files)
                )
        return found

    def works_of(self, step: WorkStep) -> list[Card]:
        """Return the work that a review looks at: where nobody has handed in files, what it depends on."""
        before = self.before(step.id)
        with_files = [each for each in before if self.cards[each].files and not self.cards[each].step.is_review]
        found = [self.cards[each] for each in self.plan.works_of(step, with_files) or step.depends_on]
        return [card for card in found if not card.step.is_review and card.step.id in before]

    def take_ready(self) -> Card | None:
        """Return the first step, in the order of the plan, that can start and was not taken before; None: there is none."""
        return self.cards[self.plan.steps[heappop(self._ready)].id] if self._ready else None

    def completed(self, card: Card) -> None:
        """Let the steps start that waited for this one only."""
        for each in self._followers.get(card.step.id, ()):
            self._waiting[each] -= 1
            if not self._waiting[each]:
                heappush(self._ready, self._places[each])

    def skip_after(self, failed: Card) -> None:
        """Skip what depends on a step that failed."""
        for each in self.plan.dependents(failed.step.id):
            card = self.cards[each]
            if card.status == "pending":
                card.status = "skipped"
                card.error = f"step {failed.step.id} ({failed.step.title}) failed: {failed.error}"

    def skip_rest(self, failed: Card) -> None:
        """Skip what has not begun: a failed step ends the work."""
        for card in self.cards.values():
            if card.status == "pending":
                card.status = "skipped"
                card.error = f"not begun: step {failed.step.id} ({failed.step.title}) failed"

    def files(self) -> dict[str, str]:
        """Return all files as they stand now."""
        found: dict[str, str] = {}
        for each in self.plan.order:
            found |= self.cards[each].files
        return found

    def overwritten(self) -> list[str]:
        """Return, in words, which files were changed by steps that did not know of each other: one of the texts is lost."""
        found: list[str] = []
        last: dict[str, str] = {}
        for each in self.plan.order:
            for path, text in self.cards[each].files.items():
                other = last.get(path, each)
                if other != each and other not in self.before(each) and self.cards[other].files[path] != text:
                    found.append(f"{path}: steps {other} and {each} changed it at once; that of step {each} stands")
                last[path] = each
        return found

    def last_measured(self) -> Delivery | None:
        """Return the last work whose tests or coverage are known."""
        known = [
            card.latest
            for card in (self.cards[each] for each in self.plan.order)
            if card.latest is not None and (card.latest.tests is not None or card.latest.coverage is not None)
        ]
        return known[-1] if known else None

    def with_step(self, card: Card, delivery: Delivery) -> None:
        """Put a fix of a step's work in its place, for the report."""
        kept = card.latest.files if card.latest is not None else {}
        card.latest = msgspec.structs.replace(delivery, files={**kept, **delivery.files})
