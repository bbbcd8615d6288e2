"""When the steps of a plan should end, and what delays make of that."""

from __future__ import annotations

from datetime import datetime, timedelta

from shoal.orchestration.workflow.plan import Plan

__all__ = ["Timeline"]


class Timeline:
    """Due times: a step is due its estimate, or else its time-out, after the last that it depends on.

    Args:
        plan: the steps.
        began: when the work began.
        seconds: of a step that has no estimate.
    """

    def __init__(self, plan: Plan, began: datetime, seconds: float) -> None:
        self._steps = {step.id: step for step in plan.steps}
        self._order = plan.order
        self._delays: dict[str, float] = {}
        self._planned: dict[str, datetime] = {}
        for each in self._order:
            step = self._steps[each]
            start = max((self._planned[other] for other in step.depends_on), default=began)
            self._planned[each] = start + timedelta(seconds=step.estimate_seconds or seconds)

    def delay(self, step_id: str, seconds: float) -> None:
        """Say by how much a step is late."""
        if seconds > 0:
            self._delays[step_id] = seconds
        else:
            self._delays.pop(step_id, None)

    @property
    def longest(self) -> float:
        """The delay of the longest chain, in seconds."""
        return max(self._chains().values(), default=0.0) if self._delays else 0.0

    def due(self) -> dict[str, datetime]:
        """Return when each step is due, with the delays before it and its own."""
        if not self._delays:
            return dict(self._planned)
        return {each: self._planned[each] + timedelta(seconds=delay) for each, delay in self._chains().items()}

    def _chains(self) -> dict[str, float]:
        chains: dict[str, float] = {}
        for each in self._order:
            before = max((chains[other] for other in self._steps[each].depends_on), default=0.0)
            chains[each] = before + self._delays.get(each, 0.0)
        return chains
