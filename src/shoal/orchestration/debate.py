"""Agents that discuss a topic in rounds, and a moderator who concludes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from shoal.kernel.budget import Budget
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import check_agents, checked_agent
from shoal.orchestration.checks import check_count, check_flag, check_seconds
from shoal.orchestration.consensus import ConsensusRule
from shoal.orchestration.debating import Debating
from shoal.orchestration.panels import create_expert_panel, create_pros_cons_debate
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.results import DebateResult

__all__ = ["Debate", "create_expert_panel", "create_pros_cons_debate"]

MODERATOR = "You moderate debates. You are fair to every participant, and say plainly what is agreed and what is not."


@dataclass(eq=False)
class Debate(Pattern[DebateResult]):
    """Agents that discuss a topic in rounds, and a moderator who concludes.

    In round 0 each speaks without seeing the others; in rounds 1 to *rounds* each answers what the others said last.

    Args:
        agents: at least two, with different names.
        moderator: concludes, and judges; default the first agent that can ``fork``, forked, else the first.
        rounds: of replies, from 0.
        parallel_responses: whether all speak at once; else one after the other, and each sees those before it.
        require_consensus: whether the first round that reaches consensus is the last.
        round_timeout: seconds for each round, and for the conclusion. None: no limit.
        consensus: ``ballot``: the largest support, an agent and all who name it, is at least *threshold* of all agents;
            ``judge``: the moderator says so; or ``fn(topic, messages) -> Consensus | None``.
        threshold: above 0, at most 1.
        blind: whether the others appear as "Participant 1…", in an order that the run's seed gives.
        stop_when_stuck: whether a round that is equal to the last one is the last.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = DebateResult

    agents: Iterable[Any]
    moderator: Any = None
    rounds: int = 2
    parallel_responses: bool = True
    require_consensus: bool = False
    round_timeout: float | None = 180.0
    _: KW_ONLY
    consensus: ConsensusRule = "ballot"
    threshold: float = 1.0
    blind: bool = False
    stop_when_stuck: bool = False
    name: str = "Debate"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.agents = agents = check_agents(self.agents, pattern="Debate", least=2)
        check_count(self.rounds, "rounds", 0)
        check_seconds(self.round_timeout, "round_timeout")
        for field in ("parallel_responses", "require_consensus", "blind", "stop_when_stuck"):
            check_flag(getattr(self, field), field)
        if self.consensus not in ("ballot", "judge") and not callable(self.consensus):
            raise ValueError(f"consensus={self.consensus!r:.80}: it must be 'ballot', 'judge' or a function")
        share = self.threshold
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ValueError(f"threshold={share!r:.80}: it must be above 0 and at most 1")
        if self.moderator is not None:
            self.moderator = checked_agent(self.moderator, "moderator")
        else:
            self.moderator = _forked(agents) or agents[0]

    async def run(
        self, topic: str, user_id: str = "default", context: str = "", *, budget: Budget | None = None
    ) -> DebateResult:
        """Run it and return everything that was said. Errors of agents are data; what is finished is kept."""
        return await self._run(topic, user_id, context, budget)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], DebateResult], Coroutine[Any, Any, None]]:
        """Begin with nothing said."""
        debating = Debating(self, scope, input, context, user_id)
        return debating.result, debating.work()


def _forked(agents: tuple[Any, ...]) -> Any:
    """Return a fork of the first agent that can, without its tools and its form of output; None if none can."""
    able = next((agent for agent in agents if callable(getattr(agent, "fork", None))), None)
    if able is None:
        return None
    plain = {"tools": (), "output_type": None, "handoffs": None}
    changes = {field: value for field, value in plain.items() if getattr(able, field, value) != value}
    return able.fork(name="Moderator", role=MODERATOR, **changes)
