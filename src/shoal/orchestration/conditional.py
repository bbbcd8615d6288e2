"""A classifier decides which agents go on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec

from shoal.kernel.budget import Budget
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope, segment_of
from shoal.orchestration.agents import checked_agent
from shoal.orchestration.calling import CONTROL
from shoal.orchestration.checks import check_common, check_seconds
from shoal.orchestration.functions import Function
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.pipeline import Line, Pipeline
from shoal.orchestration.results import PipelineResult

__all__ = ["ConditionalPipeline"]

OTHERWISE = "default"
"""The branch that is taken when the router names none of them."""


@dataclass(eq=False)
class ConditionalPipeline(Pattern[PipelineResult]):
    """A classifier reads the input, a router names a branch by what it says, and that branch works on the input.

    Args:
        classifier: the first agent.
        branches: lists of agents by name. ``default`` is for whatever has no branch of its own; without it the classifier's
            answer is the result then.
        router: a function, async or not, of the classifier's answer: it returns the name of a branch.
        step_timeout: seconds for each agent, None: no limit.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = PipelineResult

    classifier: Any
    branches: Mapping[str, Sequence[Any]]
    router: Callable[[str], Any]
    step_timeout: float | None = 120.0
    _: KW_ONLY
    name: str = "Conditional"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.classifier = checked_agent(self.classifier, "the classifier")
        if not isinstance(self.branches, Mapping):
            raise TypeError(f"branches must be a dict of name to agents, not {type(self.branches).__name__}")
        if not self.branches:
            raise ValueError("branches is empty: give at least one, by name")
        if not callable(self.router):
            raise TypeError(f"router must be a function of the text, not {type(self.router).__name__}")
        check_seconds(self.step_timeout, "step_timeout")
        check_common(self.name, self.budget)
        self._first = Pipeline([self.classifier], step_timeout=self.step_timeout)
        self._lines: dict[str, Pipeline] = {}
        for branch, agents in self.branches.items():
            if not isinstance(branch, str) or not branch:
                raise ValueError(f"the name of a branch must be text, not {branch!r:.80}")
            try:
                self._lines[branch] = Pipeline(agents, step_timeout=self.step_timeout)
            except (TypeError, ValueError) as error:
                raise type(error)(f"branch {branch!r:.80}: {error}") from error

    async def run(
        self, initial_input: str, user_id: str = "default", *, budget: Budget | None = None
    ) -> PipelineResult:
        """Run it and return every step, the classifier's first. Errors of agents are data; what is finished is kept."""
        return await self._run(initial_input, user_id, "", budget)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], PipelineResult], Coroutine[Any, Any, None]]:
        """Begin with nothing done."""
        fork = _Fork(self._first, self._lines, self.router, scope, user_id)
        return fork.result, fork.work(f"{context}\n\n{input}" if context else input)


class _Fork:
    """One run: the classifier, the router, and a branch."""

    def __init__(
        self, first: Pipeline, lines: Mapping[str, Pipeline], router: Callable[[str], Any], scope: Scope, user_id: str
    ) -> None:
        self._lines = lines
        self._router = router
        self._scope = scope
        self._user_id = user_id
        self._first = Line(first, scope, user_id)
        self._branch: Line | None = None
        self._route: str | None = None
        self._error: str | None = None

    def result(self) -> PipelineResult:
        """Return the result of what is finished."""
        first = self._first.result()
        if self._branch is None:
            success = first.success and self._error is None
            content = first.content if success or not first.success else ""
            return msgspec.structs.replace(first, success=success, content=content, error=first.error or self._error)
        taken = self._branch.result()
        content = taken.content if taken.content or self._branch.over else first.content
        return msgspec.structs.replace(taken, steps=first.steps + taken.steps, content=content, route=self._route)

    async def work(self, text: str) -> None:
        """Classify, choose, and go down the branch."""
        await self._first.work(text)
        classified = self._first.result()
        if not classified.success:
            return
        self._scope.check()
        try:
            name = await Function(self._scope, "route", "route", self._router).text_of(classified.last_output)
        except CONTROL:
            raise
        except Exception as error:  # noqa: BLE001  a router's error is data
            self._error = f"router: {Failure.brief(error).text}"
            return
        route = name if name in self._lines else OTHERWISE
        if route not in self._lines:
            return
        self._route = route
        place = self._scope.child(segment_of(route))
        self._branch = Line(self._lines[route], place, self._user_id)
        await self._branch.work(text)
