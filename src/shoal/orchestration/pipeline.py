"""Agents one after the other: each gets what the one before it said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from shoal.errors import BudgetExceededError
from shoal.kernel.budget import Budget
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope
from shoal.kernel.usage import Usage
from shoal.orchestration.agents import check_agents, name_of
from shoal.orchestration.calling import CONTROL, call_at, check_refused, unfinished
from shoal.orchestration.checks import check_common, check_flag, check_seconds
from shoal.orchestration.functions import Function
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.results import AgentResult, PipelineResult, PipelineStep

__all__ = ["Line", "Pipeline"]

Transformer = Callable[[str], Any]


@dataclass(eq=False)
class Pipeline(Pattern[PipelineResult]):
    """Agents one after the other.

    Args:
        agents: in order; one may be there twice.
        transformers: by place: a function, async or not, that makes the input of that agent from the text before it.
        step_timeout: seconds for each agent, and for each async transformer. None: no limit.
        stop_on_error: whether the first failure ends it; else the next agent gets the failed one's input.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = PipelineResult

    agents: Iterable[Any]
    transformers: Mapping[int, Transformer] | None = None
    step_timeout: float | None = 120.0
    stop_on_error: bool = True
    _: KW_ONLY
    name: str = "Pipeline"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.agents = agents = check_agents(self.agents, pattern="Pipeline", again="allow")
        self.transformers = dict(self.transformers or {})
        for place, transformer in self.transformers.items():
            if isinstance(place, bool) or place not in range(len(agents)):
                raise ValueError(f"transformer {place!r:.80}: there are {len(agents)} agents")
            if not callable(transformer):
                raise TypeError(f"transformer {place} must be a function of the text, not {type(transformer).__name__}")
        check_seconds(self.step_timeout, "step_timeout")
        check_flag(self.stop_on_error, "stop_on_error")
        check_common(self.name, self.budget)

    async def run(
        self, initial_input: str, user_id: str = "default", *, budget: Budget | None = None
    ) -> PipelineResult:
        """Run it and return every step. Errors of agents are data; what is finished is kept."""
        return await self._run(initial_input, user_id, "", budget)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], PipelineResult], Coroutine[Any, Any, None]]:
        """Begin with nothing done."""
        line = Line(self, scope, user_id)
        return line.result, line.work(f"{context}\n\n{input}" if context else input)


class Line:
    """One run of a pipeline at *scope*. ``over``: it has come to its end."""

    def __init__(self, pipeline: Pipeline, scope: Scope, user_id: str) -> None:
        self.steps: list[PipelineStep] = []
        self._pipeline = pipeline
        self._scope = scope
        self._user_id = user_id
        self.over = False

    def result(self) -> PipelineResult:
        """Return the result of what is finished; before the end, with the step that is under way if it has something."""
        steps = self.steps
        if not self.over:
            steps = [*steps, *(_step_of(said, input="") for said in unfinished(self._scope))]
        failed = next((step for step in steps if not step.success), None)
        outputs = [step.output for step in steps if step.success or not self.over]
        content = next((output for output in reversed(outputs) if output), "")
        if self.over and failed is not None and self._pipeline.stop_on_error:
            content = ""
        return PipelineResult(
            steps=tuple(steps),
            content=content,
            success=self.over and failed is None,
            error=None if failed is None else failed.error,
        )

    async def work(self, text: str) -> None:
        """Go through the agents."""
        for place, agent in enumerate(self._pipeline.agents):
            self._scope.check()
            step = await self._step(place, agent, text)
            self.steps.append(step)
            self._scope.check()  # the agent may have come to the end of the budget
            if step.success:
                text = step.output
            elif self._pipeline.stop_on_error:
                break
        self.over = True

    async def _step(self, place: int, agent: Any, text: str) -> PipelineStep:
        name = name_of(agent)
        clock = self._scope.run.clock
        began = clock.monotonic()
        given, used = text, Usage()
        transformer = (self._pipeline.transformers or {}).get(place)
        timeout = self._pipeline.step_timeout
        if transformer is not None:
            function = Function(self._scope, f"{place}:transform", "transform", transformer)
            try:
                given = await function.text_of(text, timeout=timeout)
            except CONTROL:
                raise
            except Exception as error:  # noqa: BLE001  a transformer's error is data
                if isinstance(error, BudgetExceededError):
                    self._scope.check()
                return PipelineStep(
                    agent_name=name,
                    input=text,
                    success=False,
                    error=Failure.brief(error).message or type(error).__name__,
                    failed_in="transformer",
                    duration_ms=(clock.monotonic() - began) * 1000,
                    usage=function.usage,
                )
            used = function.usage
        said = await call_at(
            self._scope, agent, given, key=f"{place}:{name}", timeout=timeout, user_id=self._user_id, index=place
        )
        check_refused(self._scope, said)
        return _step_of(said, input=given, used=used, seconds=clock.monotonic() - began)


def _step_of(said: AgentResult, *, input: str, used: Usage = Usage(), seconds: float | None = None) -> PipelineStep:  # noqa: B008
    return PipelineStep(
        agent_name=said.agent_name,
        input=input,
        output=said.content,
        success=said.success,
        error=said.error,
        failed_in=None if said.success else "agent",
        duration_ms=said.duration_ms if seconds is None else seconds * 1000,
        usage=used + said.usage,
    )
