"""The workers of a supervisor at work: assignments in waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.kernel.fences import Quote
from shoal.kernel.scope import Scope, Stopped
from shoal.orchestration.calling import call_at, unfinished
from shoal.orchestration.planning import Assignment, outputs_of, written
from shoal.orchestration.results import AgentResult, WorkerResult, WorkerTask
from shoal.orchestration.selection import SupervisorConfig, WorkerSelectionMode
from shoal.orchestration.together import together

__all__ = ["Shift"]


class Shift:
    """The work of one iteration at *place*: *tasks* in order, in waves of as many as may work at once.

    Args:
        earlier: the results of the iterations before, which these workers see.
    """

    def __init__(
        self,
        place: Scope,
        workers: Mapping[str, Any],
        config: SupervisorConfig,
        given: Assignment,
        tasks: Sequence[WorkerTask],
        earlier: Sequence[WorkerResult],
    ) -> None:
        self._place = place
        self._workers = workers
        self._config = config
        self._given = given
        self._tasks = tasks
        self._earlier = earlier
        self._done: dict[int, WorkerResult] = {}

    def results(self) -> list[WorkerResult]:
        """Return the results so far, in order; with those under way that have something."""
        found = {said.index: self._result(said) for said in unfinished(self._place)}
        found.update(self._done)
        return [found[number] for number in sorted(found)]

    async def work(self) -> None:
        """Let them work, one wave after the other."""
        sequential = self._config.mode == WorkerSelectionMode.SEQUENTIAL
        size = 1 if sequential else self._config.max_workers_per_step
        for first in range(0, len(self._tasks), size):
            self._place.check()
            seen = [*self._earlier, *(self.results() if sequential else ())]
            wave: dict[str, list[int]] = {}
            for number in range(first, min(first + size, len(self._tasks))):
                wave.setdefault(self._tasks[number].worker_name, []).append(number)
            await together([self._one_after_the_other(numbers, seen) for numbers in wave.values()])
            self._place.check()  # a worker may have come to the end of the budget

    async def _one_after_the_other(self, numbers: Sequence[int], seen: Sequence[WorkerResult]) -> None:
        """Let one worker do its assignments of a wave."""
        for number in numbers:
            if self._must_end():
                return
            task = self._tasks[number]
            said = await call_at(
                self._place,
                self._workers[task.worker_name],
                self._prompt(task, seen),
                key=f"w{number}:{task.worker_name}",
                timeout=self._config.worker_timeout,
                user_id=self._given.user_id,
                index=number,
            )
            self._done[number] = self._result(said)

    def _must_end(self) -> bool:
        """Tell whether the run is to end: then nothing is begun, but who is at work may finish."""
        try:
            self._place.check()
        except Stopped:
            return True
        return False

    def _prompt(self, task: WorkerTask, seen: Sequence[WorkerResult]) -> str:
        """Return context, what was said before, and the task."""
        parts: list[str | Quote] = []
        if self._given.context:
            parts.append(f"Context: {self._given.context}\n\n")
        if task.context:
            parts += ["What you must know for your task:\n", Quote("planner", task.context), "\n\n"]
        outputs = outputs_of([result for result in seen if result.success])
        if outputs:
            parts += ["What was done before:", *outputs, "\n\n"]
        return written(self._place, task.worker_name, [*parts, f"Task: {task.task}"])

    def _result(self, said: AgentResult) -> WorkerResult:
        task = self._tasks[said.index]
        return WorkerResult(
            worker_name=task.worker_name,
            task=task.task,
            output=said.content,
            success=said.success,
            error=said.error,
            duration_ms=said.duration_ms,
            usage=said.usage,
            iteration=task.iteration,
        )
