"""A review until the work is approved: judged, sent back with every open issue, and judged again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.fences import Quote
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.workflow.board import Card
from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.conflicttext import decisions_in_force
from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.giving import Answered, Giving, Order
from shoal.orchestration.workflow.job import Job, StepFailed
from shoal.orchestration.workflow.judging import judge
from shoal.orchestration.workflow.ledger import same_title
from shoal.orchestration.workflow.message import WorkMessage
from shoal.orchestration.workflow.prompts import again, issue_lines, review_prompt
from shoal.orchestration.workflow.replaying import own_steps
from shoal.orchestration.workflow.report import ReviewRecord
from shoal.orchestration.workflow.review import Issue, Review
from shoal.orchestration.workflow.reviews import read_review
from shoal.orchestration.workflow.tracetext import input_text, review_lines
from shoal.orchestration.workflow.working import Task, Working

__all__ = ["Reviewing", "known_ids"]

STUCK_ROUNDS = 2
"""After so many rounds in a row with the same open issues and no better score there is a warning."""


class Reviewing:
    """The review at the place of the step *card*."""

    def __init__(self, job: Job, card: Card, place: Scope, giving: Giving) -> None:
        self._job = job
        self._card = card
        self._place = place
        self._giving = giving
        self._working = Working(job, card, place, giving)
        self._works = job.board.works_of(card.step)
        self._latest = {work.step.id: work.handed or Delivery() for work in self._works}
        self._files = dict(job.board.files_before(card.step.id))
        self._rounds: list[tuple[int, tuple[str, ...]]] = []

    async def approved(self) -> Delivery:
        """Review until the work is approved, and return the last review as what was handed in.

        Raises StepFailed: nobody answered, or the work is not approved after ``max_rework`` reworks.
        """
        most = self._job.config.max_rework
        reasons: tuple[str, ...] = ()
        for round_ in range(1, most + 2):
            given, review, reasons = await self._round(round_)
            delivery = Delivery(
                summary="\n".join(self._lines(review, reasons)),
                recommendations=review.recommendations,
                review=review,
                raw=given.text,
            )
            self._card.latest = delivery
            if not reasons:
                return delivery
            if round_ > most or not self._works:
                break
            await self._sent_back(review)
        sent_back = most if self._works else 0
        times = f" after {sent_back} reworks" if sent_back else ""
        raise StepFailed(f"not approved{times}: {'; '.join(reasons)}")

    # -- one round

    async def _round(self, round_: int) -> tuple[Answered, Review, tuple[str, ...]]:
        """Have it reviewed once; return the answer, the review, and why the work is not approved."""
        given = await self._giving.give(self._order(()))
        read = read_review(given.text)
        if read.problem:
            before = given.text
            given = await self._giving.give(self._order((before, read.problem)))
            read = read_review(given.text)
        self._warn(read.warnings)
        review = read.review
        if read.problem:
            self._warn([f"step {self._card.step.id}: the review cannot be used: {read.problem}; it counts as score 0"])
            review = msgspec.structs.replace(review, score=0, approved=False)
        await self._take(round_, review, given)
        checks = tuple(reason for work in self._works for reason in work.checks)
        reasons = judge(review, self._open(), self._job.config, checks)
        self._card.scores.append(review.score)
        self._job.logbook.reviews.append(
            ReviewRecord(
                step_id=self._card.step.id,
                round=round_,
                reviewer=given.instance.name,
                review=review,
                works=tuple(work.step.id for work in self._works),
                approved=not reasons,
                reasons=reasons,
            )
        )
        self._tell(given, review, reasons)
        self._look_whether_stuck(review)
        return given, review, reasons

    def _order(self, problem: tuple[()] | tuple[str, str]) -> Order:
        job, step = self._job, self._card.step
        works = [(work.step, self._latest[work.step.id]) for work in self._works]
        files = {path: text for path, text in self._files.items() if path in self._looked_at()}
        issues, decisions = self._known(), decisions_in_force(job.decisions_for(step.id))

        def prompt(message: WorkMessage) -> Texts:
            asked = review_prompt(job.brief, message, works, files, issues, decisions)
            if not problem:
                return asked
            return again(asked, step.owner, problem[0], problem[1], "Answer again with the JSON object only.")

        return Order(
            role=step.owner,
            kind="review",
            task_type=step.task_type,
            task=step.task or step.title,
            context=step.context,
            focus=step.context,
            input=input_text([(work.owner, delivery) for work, delivery in works if delivery.files or not files]),
            requirements=(*job.brief.requirements, *step.requirements),
            input_data={f"{work.owner}: {work.title}": {"files": list(delivery.files)} for work, delivery in works},
            prompt=prompt,
        )

    def _looked_at(self) -> set[str]:
        """Return the paths of what is reviewed; all that there are, if the works have no files of their own."""
        found = {path for work in self._works for path in (*work.files, *self._latest[work.step.id].files)}
        return found or set(self._files)

    async def _take(self, round_: int, review: Review, given: Answered) -> None:
        """Put what was found into the ledger. Which ids it got is on record: reviews beside this one count on, too."""
        place = self._place

        async def take(ticket: Ticket) -> Any:
            return self._into_ledger(review, given)

        order = StepOrder(segment=f"issues{round_}", kind="issues", digest=digest_of(msgspec.to_builtins(review)))
        replayed = place.replayed(order)
        step = await place.step(order, take)
        if replayed is not None:
            self._into_ledger(review, given, msgspec.convert(step.output, list[str]))

    def _into_ledger(self, review: Review, given: Answered, ids: Sequence[str] | None = None) -> list[str]:
        """Put a review into the ledger, and return the ids of its issues, in order; *ids* are those on record."""
        job, step = self._job, self._card.step
        before, message_id = job.board.before(step.id), given.message.message_id
        self._warn(
            job.ledger.take(review, message_id=message_id, role=step.owner, step=step.id, before=before, ids=ids)
        )
        by_title = {same_title(issue.title): issue.id for issue in self._known()}
        return [by_title.get(same_title(issue.title), issue.id) for issue in review.issues]

    def _known(self) -> tuple[Issue, ...]:
        return self._job.issues_for(self._card.step.id)

    def _open(self) -> list[Issue]:
        return [issue for issue in self._known() if issue.status == "open"]

    def _warn(self, warnings: Sequence[str]) -> None:
        self._job.scope.run.warnings.extend(warnings)

    def _lines(self, review: Review, reasons: tuple[str, ...]) -> tuple[str, ...]:
        return review_lines(review, self._card.step.title, self._open(), approved=not reasons)

    def _tell(self, given: Answered, review: Review, reasons: tuple[str, ...]) -> None:
        self._job.logbook.enter(
            f"{self._place.path}:{given.message.message_id}:answered",
            "work_delivered",
            sender=self._card.step.owner,
            receiver=LEAD,
            step_id=self._card.step.id,
            instance=given.instance.name,
            output=self._lines(review, reasons),
            seconds=given.seconds,
        )

    def _look_whether_stuck(self, review: Review) -> None:
        issues = tuple(sorted(issue.id for issue in self._open()))
        self._rounds.append((review.score, issues))
        last = self._rounds[-STUCK_ROUNDS - 1 :]
        if len(last) > STUCK_ROUNDS and all(
            later[1] == earlier[1] and later[0] <= earlier[0] for earlier, later in pairwise(last)
        ):
            open_ids = ", ".join(issues) or "none"
            stuck = f"{STUCK_ROUNDS} reworks in a row changed nothing: open issues {open_ids}, score {review.score}"
            self._warn([f"step {self._card.step.id}: {stuck}"])

    # -- sending it back

    async def _sent_back(self, review: Review) -> None:
        """Let the owners mend what is open, each what is in his files; what is in nobody's goes to the last."""
        for work in self._to_mend():
            step = work.step
            files = {path: text for path, text in self._files.items() if path in self._looked_at()}
            work.reworks += 1
            issues = self._open()
            task = Task(
                step=step,
                what=_fix_title(self._card.step),
                focus=f"Address {self._card.step.owner.lower()}'s findings",
                files=files,
                expected=tuple(
                    each.step.expected_output for each in self._works if each.step.expected_output is not None
                ),
                findings=[
                    f"Fix: the work of step {step.id} was reviewed and is not approved. Open issues, with their ids:",
                    *(issue_lines(issues, status=False) or ["\nnone: the score is too low"]),
                    f"\nThe score was {self._card.scores[-1]}, {self._job.config.pass_score} is needed.",
                    *_advice(review, self._card.step.owner),
                ],
            )
            delivery = await self._working.accepted(task, work)
            self._files |= delivery.files
            self._card.files |= delivery.files
            self._latest[step.id] = msgspec.structs.replace(
                delivery, files={**self._latest[step.id].files, **delivery.files}
            )
            self._job.board.with_step(work, delivery)
            self._measured_anew(delivery)

    def _measured_anew(self, delivery: Delivery) -> None:
        """Let what a fix has measured stand for all the work that is reviewed: it was measured together."""
        for work in self._works:
            expected = work.step.expected_output
            if work.latest is not None and expected is not None and expected.measured:
                work.latest = msgspec.structs.replace(work.latest, tests=delivery.tests, coverage=delivery.coverage)

    def _to_mend(self) -> list[Card]:
        owners = {path: work for work in self._works for path in (*work.files, *self._latest[work.step.id].files)}
        found = {id(owners[issue.file]): owners[issue.file] for issue in self._open() if issue.file in owners}
        with_files = [work for work in self._works if self._latest[work.step.id].files]
        last = (with_files or self._works)[-1]
        if not found or any(issue.file not in owners for issue in self._open()):
            found[id(last)] = last
        return [work for work in self._works if id(work) in found]


def known_ids(scope: Scope) -> list[str]:
    """Return the ids of the issues that earlier lives of the run have found at *scope*."""
    return [each for step in own_steps(scope, "issues") for each in msgspec.convert(step.output, list[str])]


def _fix_title(review: WorkStep) -> str:
    """Return what a fix is called: ``Fix security issues`` after a ``Security review``."""
    words = review.title.split()
    if len(words) > 1 and words[-1].casefold() == "review":
        return f"Fix {' '.join(words[:-1]).lower()} issues"
    return f"Fix the issues of: {review.title}"


def _advice(review: Review, role: str) -> Texts:
    """Return what the reviewer advises."""
    if not review.recommendations:
        return ()
    return ("\nRecommendations:\n", Quote(role, "\n".join(f"- {each}" for each in review.recommendations)))
