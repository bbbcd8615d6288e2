"""Asking the agents of a team, in one run: who takes what, in bounded time, on record with its cost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.bounded import OutOfTime, end, in_time
from shoal.kernel.run import RunStep
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.calling import TIMEOUT, Call, budget_over, time_left
from shoal.orchestration.planning import written
from shoal.orchestration.results import AgentResult
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.replaying import own_steps
from shoal.orchestration.workflow.report import CallKind
from shoal.orchestration.workflow.roles import Crew, Instance

__all__ = ["Assignment", "Question", "Staff"]


class Assignment(NamedTuple):
    """Who takes a piece of work, and the id of the message that gives it."""

    instance: Instance
    message_id: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. ``timeout`` in seconds."""

    key: str
    prompt: Any  # Texts
    kind: CallKind
    timeout: float | None
    step_id: str = ""
    message_id: str = ""


class Staff:
    """The agents of one run of an orchestrator (a ``Desk``)."""

    def __init__(self, crew: Crew, logbook: Logbook, user_id: str) -> None:
        self.crew = crew
        self._logbook = logbook
        self._user_id = user_id
        self._messages = 0
        self._late: set[asyncio.Task[None]] = set()

    # -- who takes it

    async def assign(self, place: Scope, key: str, role: str, without: Collection[str] = ()) -> Assignment:
        """Give a piece of work to the first free instance of *role*, who is busy from now on (see ``give_back``).

        It is on record: in a later life of the run the same one has it, with the same message.

        Raises NoInstance: there is nobody but those in *without*. RunChangedError: who has it is not in the team any more.
        """
        order = StepOrder(segment=key, kind="assign", agent_name=role, digest=digest_of(role, sorted(without)))
        known = place.replayed(order)
        name = None if known is None else _of(known)["instance"]
        if name is not None and self.crew.named(role, name) is None:
            await place.run.changed(place.key(key))
            name = None
        taken = await self.crew.take(role, name, without)

        async def record(ticket: Ticket) -> Any:
            return {"instance": taken.name, "message_id": self._next_id()}

        try:
            step = await place.step(order, record)
        except BaseException:
            self.crew.give_back(taken)
            raise
        return Assignment(taken, _of(step)["message_id"])

    def count_known(self, scope: Scope) -> None:
        """Go on after the messages that earlier lives of the run have given."""
        known = [int(_of(step)["message_id"].removeprefix("msg_")) for step in own_steps(scope, "assign")]
        self._messages = max(known, default=0)

    def _next_id(self) -> str:
        self._messages += 1
        return f"msg_{self._messages}"

    # -- asking

    async def ask(
        self,
        place: Scope,
        role: str,
        key: str,
        prompt: Texts,
        *,
        kind: CallKind,
        timeout: float | None,
        step_id: str = "",
    ) -> AgentResult:
        """Ask whoever of *role* is free first (``Desk``)."""
        question = Question(key=key, prompt=prompt, kind=kind, timeout=timeout, step_id=step_id)
        if role == LEAD or len(self.crew.of(role)) == 1:
            instance = await self.crew.take(role)
        else:
            instance, _ = await self.assign(place, f"{key}:who", role)
        try:
            return await self.call(place, instance, question)
        finally:
            self.crew.give_back(instance)

    async def call(self, place: Scope, instance: Instance, question: Question, agent: Any = None) -> AgentResult:
        """Ask an instance, as *agent* if that is given (itself, with other tools), and record the call."""
        place.check()
        asked = instance.agent if agent is None else agent
        call = Call(place, asked, key=question.key)
        note = self._logbook.call(
            call.place, instance.role, instance.name, question.kind, question.step_id, question.message_id
        )
        clock, past = place.run.clock, self._logbook.past
        began = past.began(call.place.path, clock.now())
        prompt = written(call.place, instance.name, question.prompt)
        said = await self._in_time(call, prompt, question, instance)
        took = past.ended(call.place.path, clock.now()) - began
        note.ended(success=said.success, timed_out=said.error == TIMEOUT, seconds=max(0.0, took.total_seconds()))
        place.check()
        return said

    async def _in_time(self, call: Call, prompt: str, question: Question, instance: Instance) -> AgentResult:
        limit, idle = time_left(call.place, question.timeout)
        clock = call.place.run.clock
        work = asyncio.get_running_loop().create_task(call.attempt(prompt, self._user_id), name=call.title)
        late = False
        try:
            said = await in_time(lambda: asyncio.shield(work), limit, clock, idle)
        except OutOfTime:
            if work.done() and not work.cancelled():
                return work.result()  # it ended at the same moment
            late = bool(await end([work], clock))
            if limit != question.timeout:
                await budget_over(call.place)
            said = await call.cut_short(TimeoutError(TIMEOUT))
        finally:
            if not work.done() and not late:
                await end([work], clock)
        if late:
            instance.late += 1
            work.add_done_callback(lambda _: self.crew.caught_up(instance))
            self._listen(work, call.place, instance, question)
        elif said.error == TIMEOUT and (step := call.place.recorded("late")) is not None:
            self._tell_late(call.place, instance, question, str(step.output))
        return said

    # -- answers that come too late

    def _listen(self, work: asyncio.Task[AgentResult], place: Scope, instance: Instance, question: Question) -> None:
        """Record the answer of one who was given up, if it comes while the run is under way. Its cost counts."""

        async def record() -> None:
            said = await asyncio.shield(work)
            if not said.success:
                return

            async def content(ticket: Ticket) -> str:
                return said.content

            await place.step(StepOrder(segment="late", kind="late", agent_name=instance.name), content)
            self._tell_late(place, instance, question, said.content)

        task = asyncio.get_running_loop().create_task(record(), name=f"late {id(work)}")
        self._late.add(task)
        task.add_done_callback(_look_at)

    def _tell_late(self, place: Scope, instance: Instance, question: Question, content: str) -> None:
        first = next(iter(content.strip().splitlines()), "")
        self._logbook.enter(
            f"{place.path}:late",
            "late_answer",
            sender=instance.role,
            receiver=LEAD,
            step_id=question.step_id,
            instance=instance.name,
            output=(f"Too late, and not used: {first:.200}",),
        )

    async def close(self) -> None:
        """Hear nobody any more."""
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)


def _of(step: RunStep) -> dict[str, str]:
    """Return what was recorded of an assignment."""
    return msgspec.convert(step.output, dict[str, str])


def _look_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # the run has ended, or can record nothing more: whoever carries it out knows
