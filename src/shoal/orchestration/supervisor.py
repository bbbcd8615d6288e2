"""A planner who gives work to workers, and a synthesizer who brings together what they said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from shoal.kernel.budget import Budget, LoopLimits
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import check_agents, checked_agent
from shoal.orchestration.checks import check_text
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.planning import Assignment
from shoal.orchestration.research import create_research_team
from shoal.orchestration.results import SupervisorResult
from shoal.orchestration.selection import SupervisorConfig, WorkerSelectionMode
from shoal.orchestration.supervising import Supervising

__all__ = ["Supervisor", "SupervisorConfig", "WorkerSelectionMode", "create_research_team"]

PLANNER = "You plan the work of a team: who does what, so that each task fits its worker and nothing is done twice."
SYNTHESIZER = "You bring together what a team has found into one clear answer, and leave out nothing that matters."


@dataclass(eq=False)
class Supervisor(Pattern[SupervisorResult]):
    """A planner who gives work to workers, and a synthesizer who brings together what they said.

    Args:
        workers: agents, by the names under which the planner knows them.
        planner: answers with the plan, a JSON array. Default: the first worker that can ``fork``, forked; without one the
            first worker itself.
        synthesizer: makes the content. Default: the first worker that can ``fork``, forked; without one the content is what
            the workers said, labeled.
        config: how workers are chosen, in which time, and what counts as success.
        loop: how often the same plan with the same outputs is a loop (``max_repeats``).
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = SupervisorResult

    workers: Mapping[str, Any]
    planner: Any = None
    synthesizer: Any = None
    config: SupervisorConfig | None = None
    _: KW_ONLY
    loop: LoopLimits = field(default_factory=LoopLimits)
    name: str = "Supervisor"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.workers = workers = _checked_workers(self.workers)
        if self.config is None:
            self.config = SupervisorConfig()
        if not isinstance(self.config, SupervisorConfig):
            raise TypeError(f"config must be a SupervisorConfig, not {type(self.config).__name__}")
        least = self.config.min_successful_workers
        if least > len(workers):
            raise ValueError(f"min_successful_workers={least}: there are {len(workers)} workers")
        if not isinstance(self.loop, LoopLimits):
            raise TypeError(f"loop must be LoopLimits, not {type(self.loop).__name__}")
        if self.planner is not None:
            self.planner = checked_agent(self.planner, "the planner")
        elif self.config.mode != WorkerSelectionMode.ALL:
            forked = _forked(workers, name="Planner", role=PLANNER, temperature=0.3)
            self.planner = next(iter(workers.values())) if forked is None else forked
        if self.synthesizer is not None:
            self.synthesizer = checked_agent(self.synthesizer, "the synthesizer")
        else:
            self.synthesizer = _forked(workers, name="Synthesizer", role=SYNTHESIZER, temperature=0.5)

    async def run(
        self, task: str, user_id: str = "default", context: str = "", *, budget: Budget | None = None
    ) -> SupervisorResult:
        """Work on *task* and return plan, results and answer. Errors of agents are data; what is finished is kept."""
        return await self._run(task, user_id, context, budget)

    async def research(self, topic: str, user_id: str = "default") -> SupervisorResult:
        """Let them find out about *topic*: ``run`` with words for it."""
        check_text(topic, "topic")
        return await self.run(
            f"Research this topic: the facts, the open questions, and what follows.\n\n{topic}", user_id
        )

    async def analyze(self, content: str, user_id: str = "default") -> SupervisorResult:
        """Let them analyze *content*: ``run`` with words for it."""
        check_text(content, "content")
        return await self.run(f"Analyze this: its main points, its strengths and its weaknesses.\n\n{content}", user_id)

    async def create(self, description: str, user_id: str = "default") -> SupervisorResult:
        """Let them make what *description* says: ``run`` with words for it."""
        check_text(description, "description")
        return await self.run(f"Create this, complete and ready to use.\n\n{description}", user_id)

    def begin(
        self, scope: Scope, input: str, user_id: str, context: str
    ) -> tuple[Callable[[], SupervisorResult], Coroutine[Any, Any, None]]:
        """Begin with nothing planned."""
        supervising = Supervising(self, scope, Assignment(task=input, context=context, user_id=user_id))
        return supervising.result, supervising.work()


def _checked_workers(workers: Any) -> dict[str, Any]:
    if not isinstance(workers, Mapping):
        raise TypeError(f"workers must be a dict of name to agent, not {type(workers).__name__}")
    for name in workers:
        if not isinstance(name, str) or not name or name != " ".join(name.split()):
            raise ValueError(f"the name of a worker must be text in one line, not {name!r:.80}")
    return dict(zip(workers, check_agents(workers.values(), pattern="Supervisor"), strict=True))


def _forked(workers: Mapping[str, Any], **changes: Any) -> Any:
    """Return a fork of the first worker that can, without its tools and its form of output; None if none can."""
    able = next((worker for worker in workers.values() if callable(getattr(worker, "fork", None))), None)
    if able is None:
        return None
    if getattr(able, "output_type", None) is not None:
        changes["output_type"] = None
    return able.fork(tools=(), **changes)
