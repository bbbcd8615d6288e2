"""A piece of work until it is accepted: given, read, run, checked, and sent back with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.fences import Quote, shortened
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.calling import CONTROL
from shoal.orchestration.workflow.board import Card
from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.checking import check_output
from shoal.orchestration.workflow.conflicttext import decisions_in_force
from shoal.orchestration.workflow.delivery import CodeRun, Delivery
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.disputing import Disputing
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.giving import Answered, Giving, Order
from shoal.orchestration.workflow.handin import read_delivery
from shoal.orchestration.workflow.job import Job, StepFailed
from shoal.orchestration.workflow.message import WorkMessage
from shoal.orchestration.workflow.paths import check_files
from shoal.orchestration.workflow.prompts import Handed, Parts, measured_lines, title_of, work_prompt
from shoal.orchestration.workflow.roles import Instance
from shoal.orchestration.workflow.tracetext import input_text, said_lines
from shoal.orchestration.workflow.workspace import Workspace, can_take_tools, with_tools

__all__ = ["Task", "Working"]

KEPT_OUTPUT = 20_000
"""How many characters of what a code run printed are kept in the journal."""


class Task(NamedTuple):
    """What is to be worked on.

    Attributes:
        step: whose work it is.
        what, focus: what is asked, and what to look at, in words.
        files: as they stand before it.
        expected: what must be handed in; of a fix, by all the steps whose work is reviewed.
        findings: what is to be mended, of a fix.
    """

    step: WorkStep
    what: str
    focus: str
    files: Mapping[str, str]
    expected: tuple[ExpectedOutput, ...] = ()
    findings: Texts = ()

    @property
    def is_fix(self) -> bool:
        """Whether it mends what was handed in before."""
        return bool(self.findings)

    @property
    def is_measured(self) -> bool:
        """Whether code must be run to check it."""
        return any(each.measured for each in self.expected)


class Working:
    """Work at the place of the step *card*."""

    def __init__(self, job: Job, card: Card, place: Scope, giving: Giving) -> None:
        self._job = job
        self._card = card
        self._place = place
        self._giving = giving
        self._disputing = Disputing(job, card, place)
        self._workspaces: dict[str, Workspace] = {}
        self._helped: dict[str, Any] = {}  # agents with a workspace, by instance
        self._handed: dict[str, str] = {}  # files, for the present task
        self._runs = 0

    async def accepted(self, task: Task, works: Card) -> Delivery:
        """Have it done, and return what was accepted; *works* is the card of the step whose work it is.

        Raises StepFailed: nobody answered, or nothing was accepted after ``max_rework`` reworks.
        """
        most = self._job.config.max_rework
        reasons: tuple[str, ...] = ()
        self._handed = {}
        for round_ in range(most + 1):
            findings = task.findings if not reasons else [*task.findings, *_refused(reasons)]
            given = await self._giving.give(self._order(task, findings, again=round_ > 0))
            delivery, reasons = await self._handed_in(task, given)
            decided = await self._disputing.settle(delivery, task.step)
            reasons = (*reasons, *decided)
            works.checks = reasons
            if not reasons:
                return delivery
            if round_ < most:
                works.reworks += 1
                self._tell_refused(given, task.step.owner, reasons)
        raise StepFailed(f"not accepted after {most} reworks: {'; '.join(reasons)}")

    def _tell_refused(self, given: Answered, role: str, reasons: tuple[str, ...]) -> None:
        self._job.logbook.enter(
            f"{self._place.path}:{given.message.message_id}:refused",
            "work_refused",
            sender=LEAD,
            receiver=role,
            step_id=self._card.step.id,
            instance=given.instance.name,
            output=reasons,
        )

    # -- the order

    def _order(self, task: Task, findings: Texts, *, again: bool) -> Order:
        job, step = self._job, task.step
        inputs = job.board.handed_to(step.id) if not task.is_fix else []
        tools, said = self._has_workspace(task), job.runner is None and task.is_measured
        decisions = decisions_in_force(job.decisions_for(self._card.step.id))

        def prompt(message: WorkMessage) -> Texts:
            parts = Parts(
                inputs=inputs, files=task.files, findings=findings, decisions=decisions, tools=tools, claims=said
            )
            return work_prompt(job.brief, message, parts)

        return Order(
            role=step.owner,
            kind="fix" if task.is_fix or again else "work",
            task_type=step.task_type,
            task=f"Rework: {task.what}" if again else task.what,
            context=task.focus,
            focus=task.focus if task.is_fix else step.context,
            input=input_text([(each.role, each.delivery) for each in inputs]),
            requirements=(*job.brief.requirements, *step.requirements),
            input_data={title_of(each): _as_input(each) for each in inputs},
            expected_output=_together(task.expected),
            priority="high" if task.is_fix or again else "medium",
            prompt=prompt,
            agent=(lambda instance, place: self._with_workspace(task, instance, place)) if tools else None,
        )

    # -- a workspace

    def _has_workspace(self, task: Task) -> bool:
        if self._job.runner is None or not task.is_measured:
            return False
        return any(can_take_tools(each.agent) for each in self._job.staff.crew.of(task.step.owner))

    def _with_workspace(self, task: Task, instance: Instance, place: Scope) -> Any:
        """Return the instance's agent with the tools of a workspace of its own, if it can take them.

        In it are the files as they stand, and what an earlier life of the run has written at *place*, where it is asked.
        """
        if not can_take_tools(instance.agent):
            return instance.agent
        if instance.name not in self._helped:
            runner = self._job.runner
            assert runner is not None, "there is no workspace without one"
            space = self._workspaces[instance.name] = Workspace(runner)
            self._helped[instance.name] = with_tools(instance.agent, space)
        space = self._workspaces[instance.name]
        space.begin(self._files_before(task), self._handed)
        space.restore(place, instance.name)
        return self._helped[instance.name]

    def _files_before(self, task: Task) -> dict[str, str]:
        return {**self._job.board.files_before(self._card.step.id), **task.files}

    # -- what is handed in

    async def _handed_in(self, task: Task, given: Answered) -> tuple[Delivery, tuple[str, ...]]:
        """Return what was handed in, as it was measured, and why it is not accepted."""
        delivery, refused = _read(given.text)
        space = self._workspaces.get(given.instance.name)
        if space is not None and space.written:
            delivery = msgspec.structs.replace(delivery, files={**space.written, **delivery.files})
            refused = refused or _fault(lambda: check_files(delivery.files))
        whole = {**self._files_before(task), **delivery.files}
        if not refused and self._is_measured(task):
            refused = _fault(lambda: check_files(whole), " with the files of the steps before")
        self._tell(task, given, delivery)
        if refused:
            return delivery, refused
        self._handed |= delivery.files
        if self._is_measured(task):
            delivery = await self._measured(delivery, whole)
        seen = self._whole(task, delivery)
        reasons = (reason for expected in task.expected for reason in check_output(expected, seen))
        return delivery, tuple(dict.fromkeys(reasons))

    def _whole(self, task: Task, delivery: Delivery) -> Delivery:
        """Return a fix with the files that it did not touch: they are there, too."""
        return msgspec.structs.replace(delivery, files={**task.files, **delivery.files}) if task.is_fix else delivery

    def _tell(self, task: Task, given: Answered, delivery: Delivery) -> None:
        self._job.logbook.enter(
            f"{self._place.path}:{given.message.message_id}:answered",
            "work_delivered",
            sender=task.step.owner,
            receiver=LEAD,
            step_id=self._card.step.id,
            instance=given.instance.name,
            output=said_lines(delivery, task.files, fix=task.is_fix),
            seconds=given.seconds,
        )

    def _is_measured(self, task: Task) -> bool:
        return self._job.runner is not None and task.is_measured

    async def _measured(self, delivery: Delivery, files: Mapping[str, str]) -> Delivery:
        """Run the code, and return the delivery with what was seen."""
        run = await self._code_run(files)
        delivery = delivery.measured(run)
        lines = measured_lines(delivery).splitlines()
        if run.timed_out:
            lines.append("The tests did not end in time")
        if run.fault:
            lines.append(run.fault)
        self._job.logbook.enter(
            f"{self._place.path}:code{self._runs}",
            "code_run",
            sender=LEAD,
            step_id=self._card.step.id,
            output=tuple(lines),
            seconds=run.duration_ms / 1000,
        )
        return delivery

    async def _code_run(self, files: Mapping[str, str]) -> CodeRun:
        runner = self._job.runner
        assert runner is not None, "whoever calls has looked"
        self._runs += 1

        async def run(ticket: Ticket) -> Any:
            done = await runner.run(files)
            short = {name: shortened(getattr(done, name), KEPT_OUTPUT) for name in ("stdout", "stderr")}
            return msgspec.to_builtins(msgspec.structs.replace(done, **short))

        order = StepOrder(segment=f"code{self._runs}", kind="code", digest=digest_of(sorted(files.items())))
        try:
            step = await self._place.step(order, run)
        except CONTROL:
            raise
        except Exception as error:
            raise StepFailed(f"the code could not be run: {type(error).__name__}: {error}") from error
        return msgspec.convert(step.output, CodeRun)


def _read(text: str) -> tuple[Delivery, tuple[str, ...]]:
    """Return what was handed in, and why it is refused."""
    try:
        return read_delivery(text), ()
    except ValueError as error:
        return Delivery(summary=text, raw=text), (f"the hand-in is refused: {error}",)


def _together(expected: Sequence[ExpectedOutput]) -> ExpectedOutput:
    """Return what several steps expect, as one: all files, and the first that is said of tests and coverage."""
    return ExpectedOutput(
        files=tuple(dict.fromkeys(path for each in expected for path in each.files)),
        tests=next((each.tests for each in expected if each.tests), ""),
        coverage=next((each.coverage for each in expected if each.coverage), ""),
    )


def _fault(check: Callable[[], None], where: str = "") -> tuple[str, ...]:
    try:
        check()
    except ValueError as error:
        return (f"the hand-in is refused{where}: {error}",)
    return ()


def _refused(reasons: Sequence[str]) -> Texts:
    """Say why work is sent back. Reasons quote what was handed in: file names, names of tests."""
    return ["\n\nYour work was not accepted:\n", Quote("checks", "\n".join(f"- {reason}" for reason in reasons))]


def _as_input(handed: Handed) -> dict[str, Any]:
    """Return what a message says of something handed in; its files stand in the prompt and in the report."""
    said = handed.delivery
    found: dict[str, Any] = {"summary": said.summary}
    if said.outputs:
        found["outputs"] = list(said.outputs)
    if said.recommendations:
        found["recommendations"] = list(said.recommendations)
    if handed.files:
        found["files"] = list(handed.files)
    return found
