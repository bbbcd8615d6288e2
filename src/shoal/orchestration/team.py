"""Agents that take turns: by handing over to each other, in a circle, or as a function says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from shoal.errors import nearest
from shoal.kernel.budget import Budget, LoopLimits
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import check_agents, name_of
from shoal.orchestration.checks import check_common, check_count, check_seconds
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.results import TeamResult
from shoal.orchestration.turns import Turns

__all__ = ["Team"]

HANDOFF, ROUND_ROBIN = "handoff", "round_robin"


@dataclass(eq=False)
class Team(Pattern[TeamResult]):
    """Agents that take turns.

    Args:
        agents: at least two.
        turn: who is next. ``handoff``: whoever the agent that spoke hands over to; when it hands over to nobody, its answer
            is the result. ``round_robin``: one after the other. Or a function, async or not, of the messages so far that
            returns a name, or None for the end. A handoff is followed in any case.
        entry: who begins; default the first, or whoever the function names.
        max_turns: after so many it ends with ``stopped="limit"``.
        stop: it ends when this text is in the last message, or when this function of the messages returns True.
        turn_timeout: seconds for each turn, None: no limit.
        loop: how many handoffs, and how many equal ones, are a loop.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = TeamResult

    agents: Iterable[Any]
    turn: str | Callable[..., Any] = HANDOFF
    entry: str | None = None
    max_turns: int = 20
    stop: str | Callable[..., Any] | None = None
    turn_timeout: float | None = 120.0
    _: KW_ONLY
    loop: LoopLimits = field(default_factory=LoopLimits)
    name: str = "Team"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.agents = check_agents(self.agents, pattern="Team", least=2)
        if not callable(self.turn) and self.turn not in (HANDOFF, ROUND_ROBIN):
            raise ValueError(
                f"turn={self.turn!r:.80}: it must be 'handoff', 'round_robin' or a function of the messages"
            )
        names = [name_of(agent) for agent in self.agents]
        if self.entry is not None and self.entry not in names:
            raise ValueError(
                f"entry={self.entry!r:.80}: the agents are {', '.join(names)}{nearest(str(self.entry), names)}"
            )
        check_count(self.max_turns, "max_turns")
        if self.stop is not None and not callable(self.stop) and not (isinstance(self.stop, str) and self.stop):
            raise ValueError(f"stop={self.stop!r:.80}: it must be a text, a function of the messages, or None")
        check_seconds(self.turn_timeout, "turn_timeout")
        check_common(self.name, self.budget)
        if not isinstance(self.loop, LoopLimits):
            raise TypeError(f"loop must be LoopLimits, not {type(self.loop).__name__}")

    async def run(
        self, task: str, user_id: str = "default", context: str = "", *, budget: Budget | None = None
    ) -> TeamResult:
        """Work on *task* and return every message and handoff. Errors of agents are data; what is finished is kept."""
        return await self._run(task, user_id, context, budget)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], TeamResult], Coroutine[Any, Any, None]]:
        """Begin with nothing said."""
        turns = Turns(self, scope, input, user_id=user_id, context=context)
        return turns.result, turns.work()
