"""One agent as a run of its own."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.kernel.carrying import Runnable
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import checked_agent, name_of
from shoal.orchestration.calling import call_at
from shoal.orchestration.results import AgentResult

__all__ = ["Solo", "runnable"]


class Solo:
    """An agent that is no agent of Shoal, as what ``runtime.run`` carries out: its answer is the result."""

    def __init__(self, agent: Any) -> None:
        self.agent = checked_agent(agent, "what is to run")
        self.name = name_of(self.agent)

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> AgentResult:
        """Ask it."""
        text = f"{context}\n\n{input}" if context else input
        said = await call_at(scope, self.agent, text, key=self.name, user_id=user_id)
        scope.check()  # what a spent budget refused is no answer: the same id goes on with a larger one
        return said

    def decode_result(self, data: Any) -> AgentResult:
        """Return a result that was stored."""
        return msgspec.convert(data, AgentResult)


def runnable(thing: Any) -> Runnable[Any]:
    """Return what can be run of *thing*: a pattern or an agent of Shoal itself, anything else that can chat as one.

    Raises TypeError, ValueError: it is no agent.
    """
    if callable(getattr(thing, "carry_out", None)) and not isinstance(thing, type):
        found: Runnable[Any] = thing
        return found
    return Solo(thing)
