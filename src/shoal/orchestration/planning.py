"""The planner of a supervisor: what it is asked, and what becomes of an answer that is no plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.kernel.fences import Quote, compose
from shoal.kernel.run import RunEventType, StopReason
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import name_of
from shoal.orchestration.calling import TIMEOUT, call_at
from shoal.orchestration.plans import Plan, read_plan
from shoal.orchestration.results import AgentResult, WorkerResult
from shoal.orchestration.selection import SupervisorConfig, WorkerSelectionMode

__all__ = ["Assignment", "Planned", "Planner", "Texts", "outputs_of", "written"]

Texts = Sequence[str | Quote]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor was given to do, and by whom."""

    task: str
    context: str
    user_id: str


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, or why there is none: ``stopped`` is how a run ends that must have one."""

    plan: Plan = Plan()
    problem: str = ""
    stopped: StopReason | None = None


def written(scope: Scope, agent_name: str, parts: Texts) -> str:
    """Return the prompt of *parts* for an agent; tell when quotes had to be cut for it."""
    composed = compose(parts)
    if composed.left_out:
        scope.tell(RunEventType.CONTEXT_CUT, agent_name, left_out=composed.left_out)
    return composed.text


def outputs_of(results: Sequence[WorkerResult]) -> list[str | Quote]:
    """Return what workers said or how they failed, each under a heading with the name."""
    parts: list[str | Quote] = []
    for result in results:
        name = result.worker_name
        if result.success:
            parts += [f"\n\n### {name}\n", Quote(name, result.output)]
        else:
            parts += [f"\n\n### {name} (FAILED)\n", Quote(name, result.error or "")]
    return parts


class Planner:
    """Who plans in one run of a supervisor."""

    def __init__(
        self, agent: Any, workers: Mapping[str, Any], config: SupervisorConfig, given: Assignment, replans: bool
    ) -> None:
        self._agent = agent
        self._name = name_of(agent)
        self._workers = workers
        self._config = config
        self._given = given
        self._replans = replans

    async def plan(self, place: Scope, iteration: int, results: Sequence[WorkerResult]) -> Planned:
        """Ask for the plan of an iteration at *place*; one that is of no use is sent back once, with the reason."""
        prompt = self._prompt(iteration, results)
        said = await self._ask(place, "plan", prompt)
        planned = self._read(place, said, iteration)
        if not said.success or not planned.problem:
            return planned
        repair = [
            *prompt,
            "\n\nYou have answered:\n",
            Quote(self._name, said.content),
            f"\n\nThis plan cannot be used: {planned.problem}. Answer again with the JSON array only.",
        ]
        said = await self._ask(place, "repair", repair)
        return self._read(place, said, iteration)

    async def _ask(self, place: Scope, key: str, parts: Texts) -> AgentResult:
        prompt = written(place, self._name, parts)
        timeout, user_id = self._config.planning_timeout, self._given.user_id
        said = await call_at(place, self._agent, prompt, key=key, timeout=timeout, user_id=user_id)
        place.check()
        return said

    def _read(self, place: Scope, said: AgentResult, iteration: int) -> Planned:
        if said.error == TIMEOUT:
            return Planned(problem="planning timed out", stopped="timeout")
        if not said.success:
            return Planned(problem=f"planning failed: {said.error}", stopped="error")
        plan = read_plan(said.content, self._workers, iteration)
        place.run.warnings.extend(plan.warnings)
        return Planned(plan=plan, problem=plan.problem, stopped="error" if plan.problem else None)

    # -- what it is asked

    def _prompt(self, iteration: int, results: Sequence[WorkerResult]) -> list[str | Quote]:
        given = self._given
        parts: list[str | Quote] = ["Plan who does what for this task.\n\n", f"Task: {given.task}"]
        if given.context:
            parts.append(f"\n\nContext: {given.context}")
        parts.append("\n\nThe workers:")
        for name, worker in self._workers.items():
            role = getattr(worker, "role", "")
            parts.append(f"\n- {name}: {role}" if isinstance(role, str) and role else f"\n- {name}")
        if results:
            parts += ["\n\nWhat they have done so far:", *outputs_of(results)]
        return [*parts, f"\n\n{self._form()}\n\n{self._what_empty_means(iteration)}"]

    def _form(self) -> str:
        fields = {"worker": "its name", "task": "what it is to do", "context": "what it must know for that"}
        form = ", ".join(f'"{field}": "{meaning}"' for field, meaning in fields.items()) + ', "priority": 1'
        lines = ["Answer with a JSON array of assignments:"]
        if self._config.include_reasoning:
            form += ', "reason": "why"'
        lines += [f"[{{{form}}}]", "Lower priorities come first; context and priority may be left out."]
        if self._config.mode == WorkerSelectionMode.SEQUENTIAL:
            lines.append("One worker works at a time (waves of 1), and each sees what those before it said.")
        else:
            size = self._config.max_workers_per_step
            lines.append(
                f"Up to {size} assignments work at once (waves of {size}); those of one wave see nothing of each other."
            )
        return "\n".join(lines)

    def _what_empty_means(self, iteration: int) -> str:
        if iteration > 1:
            return "If that is enough for the task, answer []: it is done. Else assign only what is still missing."
        if self._replans:
            return "You will see what they said, and can plan again then: [] will mean that the task is done. It is not yet."
        return "[] would mean that the task is done. It is not."
