"""How the parts of an orchestrator ask the agents of the team."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shoal.kernel.fences import Quote
from shoal.kernel.scope import Scope
from shoal.orchestration.results import AgentResult
from shoal.orchestration.workflow.report import CallKind

__all__ = ["Desk", "Texts"]

Texts = Sequence[str | Quote]
"""A prompt: words of our own, and what others wrote, which goes within fences."""


class Desk(Protocol):
    """Asks agents by role. One instance has one question at a time; each call is on record with its cost."""

    async def ask(
        self,
        place: Scope,
        role: str,
        key: str,
        prompt: Texts,
        *,
        kind: CallKind,
        timeout: float | None,
        step_id: str = "",
    ) -> AgentResult:
        """Ask the first free instance of *role* (``Orchestrator``: the lead) at the place *key* below *place*.

        Errors of the agent are data. Raises Stopped when a budget or the run came to its end.
        """
        ...
