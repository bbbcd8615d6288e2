"""One run of a supervisor: plan, work, plan again, and bring it together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import LoopDetectedError
from shoal.kernel.asking_people import digest_of
from shoal.kernel.fences import Quote
from shoal.kernel.run import RunEventType, StopReason
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import name_of
from shoal.orchestration.calling import TIMEOUT, call_at
from shoal.orchestration.formats import labeled
from shoal.orchestration.planning import Assignment, Planned, Planner, outputs_of, written
from shoal.orchestration.plans import Plan
from shoal.orchestration.results import SupervisorResult, WorkerResult, WorkerTask
from shoal.orchestration.selection import SupervisorConfig, WorkerSelectionMode
from shoal.orchestration.working import Shift

if TYPE_CHECKING:
    from shoal.orchestration.supervisor import Supervisor

__all__ = ["Supervising"]

SYNTHESIS = "synthesis"
FOR_ALL = "the whole task went to all workers"


class _End(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended. ``content`` None: what the workers said is the content."""

    content: str | None = None
    error: str | None = None
    stopped: StopReason | None = None


class Supervising:
    """A supervisor at work at *scope*."""

    def __init__(self, supervisor: Supervisor, scope: Scope, given: Assignment) -> None:
        self._supervisor = supervisor
        self._scope = scope
        self._given = given
        self._config = config = supervisor.config or SupervisorConfig()
        selective = config.mode == WorkerSelectionMode.SELECTIVE
        self._most = config.max_iterations if selective and config.allow_replanning else 1
        self._planner = None if config.mode == WorkerSelectionMode.ALL else supervisor.planner
        self._plan: list[WorkerTask] = []
        self._results: list[WorkerResult] = []
        self._shift: Shift | None = None
        self._iterations = 0
        self._reasoning: list[str] = []
        self._seen: Counter[str] = Counter()
        self._end: _End | None = None

    def result(self) -> SupervisorResult:
        """Return the result of what is finished; before the end, with what is under way if it has something."""
        end = self._end
        results = self._so_far()
        content = None if end is None else end.content
        return SupervisorResult(
            content=labeled([(r.worker_name, r.output) for r in results if r.output]) if content is None else content,
            success=end is not None and end.error is None,
            error=None if end is None else end.error,
            stopped=None if end is None else end.stopped,
            plan=tuple(self._plan),
            worker_results=tuple(results),
            iterations=self._iterations,
            reasoning="\n".join(self._reasoning),
        )

    def _so_far(self) -> list[WorkerResult]:
        return self._results + ([] if self._shift is None else self._shift.results())

    async def work(self) -> None:
        """Plan and let them work until all is done, then bring it together."""
        self._end = await self._iterate() or await self._conclude()

    async def _iterate(self) -> _End | None:
        """Plan, and let them work; return how that ended it, None: all is done that will be."""
        for iteration in range(1, self._most + 1):
            self._scope.check()
            place = self._scope.child(f"i{iteration}")
            fresh = self._planner is not None and not self._is_recorded(place.key("plan/"))
            planned = await self._planned(place, iteration)
            tasks = planned.plan.tasks
            if planned.problem:
                if iteration > 1:
                    self._reasoning.append(
                        f"[{iteration}] {planned.problem}: what was done until then is what there is"
                    )
                    return None
                if self._config.on_bad_plan == "fail":
                    return _End(error=f"there is no plan: {planned.problem}", stopped=planned.stopped)
                self._reasoning.append(f"[{iteration}] {planned.problem}: {FOR_ALL}")
                tasks = self._for_all()
            if self._config.include_reasoning:
                self._reasoning += [f"[{iteration}] {worker}: {reason}" for worker, reason in planned.plan.reasons]
            await self._tell(place, iteration, tasks, fresh=fresh)
            if not tasks:
                return None
            await self._let_work(place, tasks)
            if planned.problem:  # there is no plan that could be revised
                return None
            loop = self._loop(tasks) if iteration < self._most else None
            if loop is not None:
                return loop
        return None

    async def _planned(self, place: Scope, iteration: int) -> Planned:
        if self._planner is None:
            return Planned(plan=Plan(tasks=self._for_all()))
        planner = Planner(self._planner, self._supervisor.workers, self._config, self._given, replans=self._most > 1)
        return await planner.plan(place, iteration, self._results)

    def _for_all(self) -> tuple[WorkerTask, ...]:
        return tuple(WorkerTask(worker_name=name, task=self._given.task) for name in self._supervisor.workers)

    async def _tell(self, place: Scope, iteration: int, tasks: Sequence[WorkerTask], *, fresh: bool) -> None:
        """Tell a plan, unless an earlier life of the run has: one that was made in this life is *fresh*."""
        if not fresh and await self._was_told(place, iteration):
            return
        name = "" if self._planner is None else name_of(self._planner)
        self._scope.tell(
            RunEventType.PLAN, name, iteration=iteration, plan=[msgspec.to_builtins(task) for task in tasks]
        )

    async def _was_told(self, place: Scope, iteration: int) -> bool:
        run, path = self._scope.run, self._scope.path
        if self._is_recorded(place.key("w"), self._scope.key(f"{SYNTHESIS}/")):
            return True  # what comes after a plan is not recorded without it
        past = await run.feeds.past(run.run_id)
        told = [event for event in past if event.type == RunEventType.PLAN and event.path == path]
        return iteration in [event.data["iteration"] for event in told]

    def _is_recorded(self, *prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in self._scope.run.recorded)

    async def _let_work(self, place: Scope, tasks: Sequence[WorkerTask]) -> None:
        self._plan += tasks
        self._iterations += 1
        self._shift = Shift(place, self._supervisor.workers, self._config, self._given, tasks, tuple(self._results))
        await self._shift.work()
        self._results = self._so_far()
        self._shift = None

    def _loop(self, tasks: Sequence[WorkerTask]) -> _End | None:
        """Return the end when the same plan has had the same outputs too often."""
        results = self._results[-len(tasks) :]
        done = [(t.worker_name, t.task, t.context, r.output, r.error) for t, r in zip(tasks, results, strict=True)]
        circle = digest_of(done)
        self._seen[circle] += 1
        times = self._seen[circle]
        if times < self._supervisor.loop.max_repeats:
            return None
        names = ", ".join(dict.fromkeys(task.worker_name for task in tasks))
        error = LoopDetectedError("plan", f"the same plan for {names} had the same outputs {times} times")
        self._scope.tell(RunEventType.LOOP_DETECTED, "", loop=error.kind, evidence=error.evidence)
        return _End(error=str(error), stopped="no_progress")

    # -- bringing it together

    async def _conclude(self) -> _End:
        error = self._shortfall()
        if error is not None:
            return _End(error=error)
        outputs = labeled([(r.worker_name, r.output) for r in self._results if r.success])
        synthesizer = self._supervisor.synthesizer
        if synthesizer is None:
            return _End(content=outputs)
        name = name_of(synthesizer)
        self._scope.check()
        said = await call_at(
            self._scope,
            synthesizer,
            written(self._scope, name, self._synthesis()),
            key=SYNTHESIS,
            timeout=self._config.synthesis_timeout,
            user_id=self._given.user_id,
        )
        self._scope.check()
        if not said.success:
            stopped: StopReason = "timeout" if said.error == TIMEOUT else "error"
            return _End(error=f"the synthesis failed: {said.error}", stopped=stopped)
        appended = self._config.include_worker_outputs
        return _End(content=f"{said.content}\n\n---\n\n{outputs}" if appended else said.content)

    def _shortfall(self) -> str | None:
        """Return why it has not succeeded, judged by the last result of each worker."""
        last = {result.worker_name: result for result in self._results}
        failed = [f"{name}: {result.error}" for name, result in last.items() if not result.success]
        succeeded, least = len(last) - len(failed), self._config.min_successful_workers
        because = f" ({'; '.join(failed)})" if failed else ""
        if succeeded < least:
            return f"{succeeded} of {len(last)} workers succeeded, min_successful_workers is {least}{because}"
        if failed and self._config.require_all_workers:
            return f"not all workers succeeded{because}"
        return None

    def _synthesis(self) -> list[str | Quote]:
        parts: list[str | Quote] = [f"Task: {self._given.task}"]
        if self._given.context:
            parts.append(f"\n\nContext: {self._given.context}")
        parts += ["\n\nWhat the workers said:", *outputs_of(self._results)]
        return [*parts, "\n\nBring this together into one answer to the task. Where a worker failed, do without it."]
