"""Agents one after the other: each gets what the one before it said."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from shoal.errors import LeaseLostError, RunChangedError, StoreError
from shoal.kernel.asking_people import digest_of
from shoal.kernel.budget import Budget
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope, StepOrder, Stopped, Ticket
from shoal.orchestration.agents import check_agents, name_of
from shoal.orchestration.calling import call_at
from shoal.orchestration.checks import check_seconds
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.results import PipelineResult, PipelineStep

__all__ = ["Pipeline"]

Transformer = Callable[[str], Any]


class Pipeline(Pattern[PipelineResult]):
    """Agents one after the other.

    Args:
        agents: in order; one may be there twice.
        transformers: by place: a function, async or not, that makes the input of that agent from the text before it.
        step_timeout: seconds for each agent, None: no limit.
        stop_on_error: whether the first failure ends it; else the next agent gets the failed one's input.
        name, budget: see ``Pattern``.
    """

    result_type = PipelineResult

    def __init__(
        self,
        agents: Sequence[Any],
        transformers: Mapping[int, Transformer] | None = None,
        step_timeout: float | None = 120.0,
        stop_on_error: bool = True,
        *,
        name: str = "Pipeline",
        budget: Budget | None = None,
    ) -> None:
        self.agents = check_agents(agents, pattern="Pipeline", again="allow")
        self.transformers = dict(transformers or {})
        for place, transformer in self.transformers.items():
            if place not in range(len(self.agents)):
                raise ValueError(f"transformer {place}: there are {len(self.agents)} agents")
            if not callable(transformer):
                raise TypeError(f"transformer {place} must be a function of the text, not {type(transformer).__name__}")
        self.step_timeout = check_seconds(step_timeout, "step_timeout")
        self.stop_on_error = stop_on_error
        self.name = name
        self.budget = budget

    async def run(
        self, initial_input: str, user_id: str = "default", *, budget: Budget | None = None
    ) -> PipelineResult:
        """Run it and return every step. Errors of agents are data; what is finished is kept."""
        return await self._run(initial_input, user_id, "", budget)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], PipelineResult], Coroutine[Any, Any, None]]:
        """Begin with nothing done."""
        steps: list[PipelineStep] = []
        first = f"{context}\n\n{input}" if context else input
        return lambda: self._result(steps), self._work(scope, first, user_id, steps)

    def _result(self, steps: Sequence[PipelineStep]) -> PipelineResult:
        failed = next((step for step in steps if not step.success), None)
        result = PipelineResult(steps=tuple(steps))
        content = "" if failed is not None and self.stop_on_error else result.last_output
        return PipelineResult(
            steps=tuple(steps),
            content=content,
            success=failed is None and bool(steps),
            error=None if failed is None else failed.error,
        )

    async def _work(self, scope: Scope, text: str, user_id: str, steps: list[PipelineStep]) -> None:
        for place, agent in enumerate(self.agents):
            scope.check()
            step = await self._step(scope, place, agent, text, user_id)
            steps.append(step)
            scope.check()  # the agent may have come to the end of the budget
            if step.success:
                text = step.output
            elif self.stop_on_error:
                return

    async def _step(self, scope: Scope, place: int, agent: Any, text: str, user_id: str) -> PipelineStep:
        name = name_of(agent)
        transformer = self.transformers.get(place)
        if transformer is not None:
            try:
                text = await transform(scope, f"{place}:transform", transformer, text)
            except (Stopped, RunChangedError, LeaseLostError, StoreError):
                raise
            except Exception as error:  # noqa: BLE001  a transformer's error is data
                failure = Failure.of(error)
                return PipelineStep(
                    agent_name=name, input=text, success=False, error=failure.text, failed_in="transformer"
                )
        said = await call_at(
            scope, agent, text, key=f"{place}:{name}", timeout=self.step_timeout, user_id=user_id, index=place
        )
        return PipelineStep(
            agent_name=name,
            input=text,
            output=said.content,
            success=said.success,
            error=said.error,
            failed_in=None if said.success else "agent",
            duration_ms=said.duration_ms,
            usage=said.usage,
        )


async def transform(scope: Scope, segment: str, function: Callable[[str], Any], text: str) -> str:
    """Return ``function(text)``, done once in a run; agents that it calls have their places below it."""
    place = scope.child(segment)

    async def apply(ticket: Ticket) -> Any:
        with place.entered():
            made = function(text)
            made = await made if inspect.isawaitable(made) else made
        if not isinstance(made, str):
            raise TypeError(f"the function at {segment} returned {type(made).__name__}, expected str")
        return made

    replayed = scope.recorded(segment) is not None
    step = await scope.step(StepOrder(segment=segment, kind="transform", digest=digest_of(text)), apply)
    if replayed:
        place.add(scope.run.used_below(place.path))  # what the agents that it called have cost
    return str(step.output)
