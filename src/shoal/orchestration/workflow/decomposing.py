"""Splitting a task into steps: the lead is asked for a plan, once more when it cannot be used; none is invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.kernel.scope import Scope
from shoal.orchestration.calling import TIMEOUT
from shoal.orchestration.workflow.brief import LEAD, Brief
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.desk import Desk, Texts
from shoal.orchestration.workflow.plan import Plan, read_plan
from shoal.orchestration.workflow.prompts import again, decomposition

__all__ = ["NoPlan", "decompose"]


class NoPlan(Exception):
    """There is no plan; its text says why. ``timed_out``: the lead did not answer in time."""

    def __init__(self, why: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(why)


async def decompose(
    desk: Desk,
    place: Scope,
    brief: Brief,
    roles: Mapping[str, Sequence[Any]],
    config: OrchestratorConfig,
    context: str = "",
) -> Plan:
    """Return the lead's plan for *brief*. Raises NoPlan."""
    prompt = decomposition(brief, roles, context)
    said = await _asked(desk, place, "plan", prompt, config)
    try:
        return read_plan(said, roles, config.max_steps)
    except ValueError as error:
        wanted = "Answer again with the plan only."
        prompt = again(prompt, LEAD, said, str(error), wanted)
    said = await _asked(desk, place, "plan.2", prompt, config)
    try:
        return read_plan(said, roles, config.max_steps)
    except ValueError as error:
        raise NoPlan(f"there is no plan: {error}") from None


async def _asked(desk: Desk, place: Scope, key: str, prompt: Texts, config: OrchestratorConfig) -> str:
    said = await desk.ask(place, LEAD, key, prompt, kind="plan", timeout=config.decomposition_timeout)
    if said.success:
        return said.content
    if said.error == TIMEOUT:
        raise NoPlan(
            f"there is no plan: the lead did not answer within {config.decomposition_timeout:g} s", timed_out=True
        )
    raise NoPlan(f"there is no plan: {said.error}")
