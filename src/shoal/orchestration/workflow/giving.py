"""Giving a piece of work to whoever of a role is free, and to another one when that agent fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shoal.kernel.scope import Scope, segment_of
from shoal.orchestration.workflow.board import Card
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.job import Job, StepFailed
from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
from shoal.orchestration.workflow.recovering import Recovering, reason_of
from shoal.orchestration.workflow.report import CallKind
from shoal.orchestration.workflow.roles import Instance, NoInstance
from shoal.orchestration.workflow.staff import Question

__all__ = ["Answered", "Giving", "Order"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work.

    Attributes:
        role, kind, task_type: for whom, and what it is.
        task, context, input: one line each, for the trace.
        focus: what the message's context tells beside that of the brief.
        requirements, input_data, expected_output: as of the message.
        priority: of the message.
        prompt: makes the prompt of the message.
        agent: gives whoever is asked at a place in place of an instance's agent: the same with other tools.
    """

    role: str
    kind: CallKind
    task_type: str
    task: str
    context: str = ""
    focus: str = ""
    input: str = ""
    requirements: tuple[str, ...] = ()
    input_data: dict[str, Any] = {}
    expected_output: ExpectedOutput = ExpectedOutput()
    priority: str = "medium"
    prompt: Callable[[WorkMessage], Texts]
    agent: Callable[[Instance, Scope], Any] | None = None


class Answered(NamedTuple):
    """An answer: its text, to which message, of whom, in how many seconds."""

    text: str
    message: WorkMessage
    instance: Instance
    seconds: float


class Giving:
    """Gives work at the place of one step."""

    def __init__(self, job: Job, card: Card, place: Scope) -> None:
        self._job = job
        self._card = card
        self._place = place
        self._calls = 0
        self._first_start: datetime | None = None
        self.recoveries: list[Recovering] = []

    async def give(self, order: Order) -> Answered:
        """Give it, and return the answer. Raises StepFailed when nobody of the role has answered."""
        job, last = self._job, ""
        failed: list[str] = []
        unwell: list[str] = []
        recovery: Recovering | None = None
        while True:
            self._calls += 1
            key = f"w{self._calls}"
            try:
                instance, message_id = await job.staff.assign(
                    self._place, f"{key}:to", order.role, sorted({*failed, *unwell})
                )
            except NoInstance:
                raise self._nobody(order, len(failed), last, recovery) from None
            try:
                if recovery is not None:
                    recovery.reassign(instance, message_id)
                said = await self._asked(order, instance, message_id, key)
            finally:
                job.staff.crew.give_back(instance)
            if isinstance(said, Answered):
                return said
            failed.append(instance.name)
            last = said
            self._job.scope.check()
            recovery = Recovering(
                job.board, job.logbook, self._card, self._place, key=key, failed=instance, reason=last
            )
            self.recoveries.append(recovery)
            others = [each for each in job.staff.crew.of(order.role) if each.name not in failed]
            unwell += [name for name in await recovery.check(others, job.config.health_timeout) if name not in failed]

    def _nobody(self, order: Order, tried: int, last: str, recovery: Recovering | None) -> StepFailed:
        reason = f"no other {order.role} instance: {tried} tried, last: {last}"
        if recovery is not None:
            recovery.nobody()
        self._job.logbook.escalate(f"{self._place.path}:w{self._calls}:nobody", self._card.step.id, order.role, reason)
        return StepFailed(reason)

    async def _asked(self, order: Order, instance: Instance, message_id: str, key: str) -> Answered | str:
        """Return the answer, or why there is none."""
        job, staff, card = self._job, self._job.staff, self._card
        message = self._message(order, message_id)
        job.logbook.messages.append(message)
        if not card.step.is_review or order.kind == "review":
            card.attempts += 1
            card.instance = instance.name
        place = self._place.child(segment_of(f"{key}:{instance.name}"))
        began = job.logbook.past.began(self._place.key(f"{key}:to"), self._place.run.clock.now())
        if self._first_start is None:
            self._first_start = card.started_at = card.started_at or began
        job.logbook.enter(
            f"{self._place.path}:{key}:given",
            "work_assigned",
            at=began,
            sender=LEAD,
            receiver=order.role,
            step_id=card.step.id,
            instance=instance.name,
            task=order.task,
            context=order.context,
            input=order.input,
        )
        question = Question(
            key=f"{key}:{instance.name}",
            prompt=order.prompt(message),
            kind=order.kind,
            timeout=job.config.task_timeout,
            step_id=card.step.id,
            message_id=message_id,
        )
        agent = None if order.agent is None else order.agent(instance, place)
        said = await staff.call(self._place, instance, question, agent)
        if not said.success:
            return reason_of(said, job.config.task_timeout)
        ended = job.logbook.past.ended(place.path, self._place.run.clock.now())
        return Answered(said.content, message, instance, (ended - began).total_seconds())

    def _message(self, order: Order, message_id: str) -> WorkMessage:
        job, card = self._job, self._card
        context = dict(job.brief.known)
        if order.focus:
            context["focus"] = order.focus
        if delays := job.board.delays_before(card.step.id):
            context["delays"] = delays
        return WorkMessage(
            message_id=message_id,
            from_agent=LEAD.lower(),
            to_agent=order.role.lower(),
            task_type=order.task_type,
            priority=order.priority,
            context=context,
            task=WorkOrder(order.task, order.requirements, order.input_data),
            expected_output=order.expected_output,
        )

    def close(self, now: datetime, *, completed: bool) -> None:
        """Say of every failure how it ended, and by how much the step is late."""
        card = self._card
        if not self.recoveries or self._first_start is None:
            return
        delay = max(0.0, (now - self._first_start).total_seconds() - self._job.config.task_timeout)
        self._job.board.timeline.delay(card.step.id, delay)
        for recovery in self.recoveries:
            if recovery.record.backup is not None:
                result = "Task completed by backup agent" if completed else "The backup agent did not complete it"
                recovery.ended(result, delay)
            else:
                recovery.ended(recovery.record.result, delay)
