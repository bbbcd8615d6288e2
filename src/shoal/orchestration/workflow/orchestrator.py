"""``Orchestrator``: a lead who has a task planned, done, checked, reviewed and corrected by a team."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any, Literal, Protocol

import msgspec

from shoal.kernel.budget import Budget
from shoal.kernel.run import FINISHED
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.runs import Runs
from shoal.kernel.scope import Scope
from shoal.kernel.taskrun import present_scope
from shoal.orchestration.checks import check_common, check_text
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.workflow.brief import Brief
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position, Rule
from shoal.orchestration.workflow.decomposing import NoPlan, decompose
from shoal.orchestration.workflow.delivery import CodeRunner
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.metrics import Tally, metrics_of
from shoal.orchestration.workflow.orchestrating import Orchestrating
from shoal.orchestration.workflow.plan import Plan
from shoal.orchestration.workflow.report import WorkflowReport
from shoal.orchestration.workflow.resolving import Resolver
from shoal.orchestration.workflow.roles import Crew, check_roles
from shoal.orchestration.workflow.rules import requirements_first, security_first
from shoal.orchestration.workflow.staff import Staff
from shoal.orchestration.workflow.workspace import Workspace, can_take_tools, with_tools

__all__ = ["HasRuns", "Orchestrator"]


class HasRuns(Protocol):
    """A runtime, or a client."""

    @property
    def runs(self) -> Runs:
        """The verbs on its runs."""
        ...


@dataclass(eq=False)
class Orchestrator(Pattern[WorkflowReport]):
    """A lead who has a task planned, done, checked, reviewed and corrected by a team.

    Args:
        lead: plans, does the steps that it keeps for itself, decides conflicts, and sums up.
        roles: the agents of each role, by its name: one, or several instances that stand in for each other.
        config: times, limits, and what a person decides.
        plan: the steps; None: the lead is asked for them.
        runner: runs the code that is handed in (``runtime.code_runner()``); None: what agents claim counts.
        rules: decide conflicts, in order; see ``security_first``, ``requirements_first``.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = WorkflowReport

    lead: Any
    roles: Mapping[str, Any]
    _: KW_ONLY
    config: OrchestratorConfig = field(default_factory=OrchestratorConfig)
    plan: Plan | None = None
    runner: CodeRunner | None = None
    rules: Sequence[Rule] = (security_first, requirements_first)
    name: str = "Orchestrator"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        check_common(self.name, self.budget)
        self.lead, self.teams = check_roles(self.lead, self.roles)
        if not isinstance(self.config, OrchestratorConfig):
            raise TypeError(f"config must be an OrchestratorConfig, not {type(self.config).__name__}")
        if self.plan is not None:
            if not isinstance(self.plan, Plan):
                raise TypeError(f"plan must be a Plan, not {type(self.plan).__name__}: Plan.from_text(...) makes one")
            self.plan.check(self.teams, self.config.max_steps)
        if self.runner is not None and not callable(getattr(self.runner, "run", None)):
            raise TypeError(f"runner must have async run(files, ...), not be {type(self.runner).__name__}")
        if self.runner is not None:
            for agent in (self.lead, *chain.from_iterable(self.teams.values())):
                if can_take_tools(agent):
                    with_tools(agent, Workspace(self.runner))
        for rule in self.rules:
            if not callable(rule):
                raise TypeError(f"a rule is a function of a Conflict, not {type(rule).__name__}")
        self.rules = tuple(self.rules)
        self._tallies: dict[str, Tally] = {}

    async def run(
        self, task: str | Brief, user_id: str = "default", context: str = "", *, budget: Budget | None = None
    ) -> WorkflowReport:
        """Have *task* done and return the report. Errors of agents are data; what is finished is kept."""
        return await self._run(_as_input(task), user_id, context, budget)

    def start(
        self, input: Any, user_id: str = "default", *, context: str = "", budget: Budget | None = None
    ) -> RunHandle[WorkflowReport]:
        """Start a run in memory and return the handle on it: ``await`` it, follow its events, cancel it."""
        return super().start(_as_input(input), user_id, context=context, budget=budget)

    def check_input(self, input: Any) -> None:
        """Raise unless it is a task: a text, a Brief, or an object of its fields."""
        if isinstance(input, str):
            check_text(input, "task")
        Brief.read(input)

    def begin(
        self, scope: Scope, input: Any, user_id: str, context: str
    ) -> tuple[Callable[[], WorkflowReport], Coroutine[Any, Any, None]]:
        """Begin with nothing planned."""
        work = Orchestrating(self, scope, Brief.read(input), user_id=user_id, context=context)
        return work.report, work.work()

    # -- parts of it, alone

    async def decompose(self, task: str | Brief) -> Plan:
        """Return the lead's plan for *task*, and do nothing of it. Raises ValueError: there is none that can be used."""
        scope = await present_scope(self.name)
        with scope.entered():
            try:
                return await decompose(self._staff(scope), scope, Brief.read(task), self.teams, self.config)
            except NoPlan as error:
                raise ValueError(str(error)) from None

    async def resolve(
        self, topic: str, positions: Sequence[Position], requirements: Sequence[str] = ()
    ) -> ConflictRecord:
        """Decide a conflict between roles, by the rules, within them by the lead.

        Args:
            topic: what it is about.
            positions: what each role holds. The first one's work it is: that role implements the decision. Of a side without
                statement or evidence they are asked for; if there is one position only, another role is asked for its own.
            requirements: that count for it.

        Raises:
            ValueError: no position, two of one role, an unknown role.
        """
        check_text(topic, "topic")
        sides = list(positions)
        if not sides:
            raise ValueError("a conflict needs at least one position")
        owner = sides[0].agent
        parties = list(dict.fromkeys(side.agent for side in sides))
        if len(parties) == 1:
            parties += [role for role in self.teams if role != owner][:1]
        scope = await present_scope(self.name)
        conflict = Conflict(
            id=f"C{scope.ordinal('conflict')}",
            topic=topic,
            owner=owner,
            positions=tuple(sides),
            requirements=tuple(requirements),
        )
        place = scope.child(f"c:{conflict.id}").as_room()
        resolver = Resolver(self._staff(scope), self.rules, self.config, self.teams)
        with scope.entered():
            return await resolver.resolve(place, conflict, parties=parties, implementer=owner)

    def _staff(self, scope: Scope) -> Staff:
        return Staff(Crew(self.lead, self.teams), Logbook(scope), "default")

    # -- how it did

    def remember(self, scope: Scope, report: WorkflowReport) -> None:
        """Count a run at *scope* for ``metrics``; one that is known is counted as it stands now."""
        self._tallies[f"{scope.run.run_id}/{scope.path}"] = Tally.of(report)

    def metrics(
        self, by: Literal["role", "instance"] = "role", numbers: bool = False, *, runtime: HasRuns | None = None
    ) -> dict[str, Any]:
        """Return how the team did, by role or by instance, in the keys of the report's ``metrics``.

        Args:
            by: ``role`` or ``instance``.
            numbers: whether to add seconds, failures, reworks, time-outs, calls, tokens and costs as numbers.
            runtime: sum over all finished runs of this name in its store; None: over those that this object carried out.

        Raises ValueError: *by* is something else.
        """
        return metrics_of(list(self._tallies.values()) if runtime is None else self._stored(runtime), by, numbers)

    def _stored(self, runtime: HasRuns) -> list[Tally]:
        found = []
        for record in runtime.runs.list(pattern=self.name, limit=100_000):
            stored = runtime.runs.result(record.run_id) if record.status in FINISHED else None
            if stored is not None:
                found.append(Tally.of(msgspec.convert(stored, WorkflowReport)))
        return found


def _as_input(task: Any) -> Any:
    """Return a task as a run keeps it: a JSON value."""
    return msgspec.to_builtins(task) if isinstance(task, Brief) else task
