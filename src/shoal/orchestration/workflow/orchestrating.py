"""One run of an orchestrator: the plan, its steps as they become possible, and the report of what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shoal.kernel.run import RunEventType, StopReason
from shoal.kernel.scope import Scope, Stopped
from shoal.orchestration.together import end_all
from shoal.orchestration.workflow.board import Board, Card
from shoal.orchestration.workflow.brief import LEAD, Brief, WorkStep
from shoal.orchestration.workflow.decomposing import NoPlan, decompose
from shoal.orchestration.workflow.giving import Giving
from shoal.orchestration.workflow.job import Job, StepFailed
from shoal.orchestration.workflow.ledger import Ledger
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.plan import Plan
from shoal.orchestration.workflow.prompts import summary_prompt
from shoal.orchestration.workflow.report import WorkflowReport
from shoal.orchestration.workflow.reporting import Ending, final_lines, plain_summary, report_of
from shoal.orchestration.workflow.resolving import Resolver
from shoal.orchestration.workflow.reviewing import Reviewing, known_ids
from shoal.orchestration.workflow.roles import Crew
from shoal.orchestration.workflow.staff import Staff
from shoal.orchestration.workflow.timeline import Timeline
from shoal.orchestration.workflow.turns import reviews_in_turn
from shoal.orchestration.workflow.working import Task, Working

if TYPE_CHECKING:
    from shoal.orchestration.workflow.orchestrator import Orchestrator

__all__ = ["Orchestrating"]


class Orchestrating:
    """An orchestrator at work at *scope*."""

    def __init__(self, team: Orchestrator, scope: Scope, brief: Brief, *, user_id: str, context: str) -> None:
        self._team = team
        self._scope = scope
        self._brief = brief
        self._context = context
        self._config = team.config
        self._logbook = Logbook(scope)
        self._staff = Staff(Crew(team.lead, team.teams), self._logbook, user_id)
        self._job: Job | None = None
        self._ledger = Ledger()
        self._ending: Ending | None = None
        self._summary = ""
        self._report: WorkflowReport | None = None  # once nothing more comes

    def report(self) -> WorkflowReport:
        """Return the report of what is finished so far."""
        if self._report is not None:
            return self._report
        board = None if self._job is None else self._job.board
        return report_of(self._brief, board, self._logbook, self._ledger, self._ending, self._summary)

    async def work(self) -> None:
        """Plan, work off the plan, and sum up."""
        try:
            await self._check_runner()
            await self._logbook.open()
            self._staff.count_known(self._scope)
            self._ledger.reserve(known_ids(self._scope))
            self._logbook.enter(f"{self._scope.path}:task", "task_received", sender=LEAD, task=self._brief.task)
            self._ending = await self._worked()
            self._finish()
        finally:
            await self._staff.close()
            self._team.remember(self._scope, self.report())

    async def _check_runner(self) -> None:
        check = getattr(self._team.runner, "check", None)
        if check is not None:
            await check()

    async def _worked(self) -> Ending:
        self._scope.check()
        try:
            plan = self._team.plan or await decompose(
                self._staff, self._scope, self._brief, self._team.teams, self._config, self._context
            )
        except NoPlan as error:
            return Ending(error=str(error), stopped="timeout" if error.timed_out else "error")
        self._begin(reviews_in_turn(_with_expected(plan, self._brief)))
        if not await self._allowed("plan", [msgspec.to_builtins(step) for step in plan.steps]):
            return Ending(error="the plan was denied", stopped="denied")
        failed = await self._work_off()
        if failed is not None:
            step = failed.step
            stopped: StopReason = "error"
            return Ending(error=f"step {step.id} ({step.title}) failed: {failed.error}", stopped=stopped)
        await self._sum_up()
        if not await self._allowed("final", {"summary": self._summary}):
            return Ending(error="the result was denied", stopped="denied")
        return Ending()

    def _begin(self, plan: Plan) -> None:
        team, scope = self._team, self._scope
        now = scope.run.clock.now()
        began = self._logbook.past.ended(scope.key("plan"), now)
        self._job = Job(
            scope=scope,
            brief=self._brief,
            config=self._config,
            roles=team.teams,
            runner=team.runner,
            board=Board(plan, Timeline(plan, began, self._config.task_timeout)),
            logbook=self._logbook,
            staff=self._staff,
            resolver=Resolver(self._staff, team.rules, self._config, team.teams),
            ledger=self._ledger,
        )
        steps = [msgspec.to_builtins(step) for step in plan.steps]
        self._logbook.tell(RunEventType.PLAN, f"{scope.path}:plan", LEAD, {"plan": steps})

    async def _allowed(self, question: Literal["plan", "final"], arguments: Any) -> bool:
        """Ask a person, if one is to be asked."""
        if question not in self._config.approve:
            return True
        lead = self._team.lead
        asked = await self._scope.run.asking.approval(
            self._scope.key(question),
            question,
            agent_name=self._team.name,
            arguments=arguments,
            decide=getattr(lead, "approve", None),
        )
        return asked.decision == "approved"

    # -- the steps

    async def _work_off(self) -> Card | None:
        """Do the steps as they become possible; return the first that failed."""
        job = self._job
        assert job is not None, "there is a plan"
        running: dict[asyncio.Task[None], Card] = {}
        first: Card | None = None
        try:
            while True:
                if first is None or self._config.on_failure == "continue":
                    self._start(job, running)
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in running if each in done]:
                    card = running.pop(task)
                    task.result()
                    if card.status == "failed":
                        first = first or card
                        job.board.skip_after(card)
        except Stopped as stopped:
            if stopped.reason != "cancelled" and running:
                await asyncio.wait(running)  # what is under way is paid for: it ends at its next step
            raise
        finally:
            await end_all(running)
            for task in running:
                if not task.cancelled():
                    task.exception()  # of those that stop at once, one says why
        if first is not None:
            job.board.skip_rest(first)
        return first

    def _start(self, job: Job, running: dict[asyncio.Task[None], Card]) -> None:
        while len(running) < self._config.max_parallel and (card := job.board.take_ready()) is not None:
            card.status = "running"
            task = asyncio.get_running_loop().create_task(self._step(job, card), name=f"step {card.step.id}")
            running[task] = card

    async def _step(self, job: Job, card: Card) -> None:
        place = job.place_of(card.step.id)
        giving = Giving(job, card, place)
        try:
            if card.step.is_review:
                card.handed = await Reviewing(job, card, place, giving).approved()
            else:
                await self._do(job, card, giving, place)
            card.status = "completed"
            job.board.completed(card)
        except StepFailed as error:
            card.status = "failed"
            card.error = str(error)
        now = self._logbook.past.ended(place.path, self._scope.run.clock.now())
        card.finished_at = now
        giving.close(now, completed=card.status == "completed")

    async def _do(self, job: Job, card: Card, giving: Giving, place: Scope) -> None:
        step = card.step
        files = job.board.files_before(step.id)
        task = Task(
            step=step,
            what=step.task or step.title,
            focus=step.context or _focus(job.brief.known),
            files=files,
            expected=() if step.expected_output is None else (step.expected_output,),
        )
        delivery = await Working(job, card, place, giving).accepted(task, card)
        card.handed = card.latest = delivery
        card.files = {path: text for path, text in delivery.files.items() if files.get(path) != text}

    # -- the end

    async def _sum_up(self) -> None:
        said = await self._staff.ask(
            self._scope,
            LEAD,
            "summary",
            summary_prompt(self.report()),
            kind="summary",
            timeout=self._config.report_timeout,
        )
        if said.success:
            self._summary = said.content
        else:
            self._scope.run.warnings.append(f"the summary is not the lead's: {said.error}")

    def _finish(self) -> None:
        if self._job is not None:
            self._scope.run.warnings.extend(self._job.board.overwritten())
        report = self.report()
        content = self._summary or plain_summary(report)
        self._logbook.enter(f"{self._scope.path}:final", "final_output", sender=LEAD, output=final_lines(report))
        self._report = msgspec.structs.replace(report, content=content, trace=tuple(self._logbook.trace))


def _focus(context: Mapping[str, Any]) -> str:
    """Return the texts of a context in one line."""
    return ", ".join(value for value in context.values() if isinstance(value, str))


def _with_expected(plan: Plan, brief: Brief) -> Plan:
    """Return a plan in which what the brief expects is expected of a step: of the last that can hand it in.

    That is the last one that tests, else the last that implements, else the last that is no review. A plan that expects
    something itself is left as it is.
    """
    expected = brief.expected_output
    if expected is None or any(step.expected_output is not None for step in plan.steps):
        return plan
    chosen: WorkStep | None = None
    for kinds in (("testing",), ("implementation",), None):
        fit = [step for step in plan.steps if (step.task_type in kinds if kinds is not None else not step.is_review)]
        if fit:
            chosen = fit[-1]
            break
    if chosen is None:
        return plan
    steps = [msgspec.structs.replace(step, expected_output=expected) if step is chosen else step for step in plan.steps]
    return Plan(tuple(steps))
