"""The patterns of team files: what may stand in ``[pattern]``, and what is made of it and the agents."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from shoal.kernel.budget import LoopLimits
from shoal.orchestration.debate import Debate
from shoal.orchestration.parallel import ParallelAgents
from shoal.orchestration.pipeline import Pipeline
from shoal.orchestration.supervisor import Supervisor, SupervisorConfig
from shoal.orchestration.team import Team
from shoal.tomlfile.faults import Faults
from shoal.tomlfile.values import Told, converted, is_time, read_function, seconds_of

__all__ = ["PATTERNS", "Cast", "Form", "read_options"]

_FILE = re.compile(r"[^:]+\.py:.+")


@dataclass(frozen=True)
class Cast:
    """Who plays: the instances of each agent by its name, in the order of the file."""

    agents: Mapping[str, Sequence[Any]]
    lead: str | None = None
    runner: Any = None

    @property
    def all(self) -> list[Any]:
        """Every instance."""
        return [each for instances in self.agents.values() for each in instances]

    def one(self, name: str | None) -> Any:
        """Return the agent of that name; None for None."""
        return None if name is None else self.agents[name][0]

    def without(self, *names: str | None) -> Cast:
        """Return it without the agents of these names."""
        rest = {name: instances for name, instances in self.agents.items() if name not in names}
        return Cast(rest, self.lead, self.runner)


Build = Callable[[str, dict[str, Any], Cast], Any]


@dataclass(frozen=True)
class Form:
    """A pattern as team files know it.

    Attributes:
        options: the keys of ``[pattern]``.
        build: makes the pattern of a name, its options and the agents.
        roles: those of the options that name an agent which then has that part alone; ``entry`` keeps its place.
        functions: those that may name a function, ``FILE.py:NAME``.
        leads: whether it has a lead, and takes a runner.
    """

    options: tuple[str, ...]
    build: Build
    roles: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    leads: bool = False


def _parallel(name: str, options: dict[str, Any], cast: Cast) -> Any:
    return ParallelAgents(cast.all, name=name, **options)


def _pipeline(name: str, options: dict[str, Any], cast: Cast) -> Any:
    return Pipeline(cast.all, name=name, **options)


def _team(name: str, options: dict[str, Any], cast: Cast) -> Any:
    return Team(cast.all, name=name, **options)


def _debate(name: str, options: dict[str, Any], cast: Cast) -> Any:
    moderator = options.pop("moderator", None)
    return Debate(cast.without(moderator).all, cast.one(moderator), name=name, **options)


def _supervisor(name: str, options: dict[str, Any], cast: Cast) -> Any:
    planner, synthesizer = options.pop("planner", None), options.pop("synthesizer", None)
    loop = {"loop": options.pop("loop")} if "loop" in options else {}
    workers = {agent.name: agent for agent in cast.without(planner, synthesizer).all}
    config = SupervisorConfig(**options)
    return Supervisor(workers, cast.one(planner), cast.one(synthesizer), config, name=name, **loop)


def _orchestrator(name: str, options: dict[str, Any], cast: Cast) -> Any:
    from shoal.orchestration.workflow.config import OrchestratorConfig
    from shoal.orchestration.workflow.orchestrator import Orchestrator
    from shoal.orchestration.workflow.plan import Plan

    plan = options.pop("plan", None)
    given: dict[str, Any] = {} if plan is None else {"plan": Plan.from_text(plan)}
    config = converted(options, OrchestratorConfig)
    roles = {role: list(agents) for role, agents in cast.without(cast.lead).agents.items()}
    return Orchestrator(cast.one(cast.lead), roles, config=config, runner=cast.runner, name=name, **given)


_CONFIG = (
    *("decomposition_timeout", "task_timeout", "conflict_timeout", "report_timeout", "health_timeout", "max_rework"),
    *("pass_score", "blocking", "max_steps", "max_parallel", "on_failure", "approve"),
)
_SUPERVISOR = tuple(each.name for each in fields(SupervisorConfig))

PATTERNS: Mapping[str, Form] = {
    "parallel": Form(("timeout", "fail_fast", "max_concurrency"), _parallel),
    "pipeline": Form(("transformers", "step_timeout", "stop_on_error"), _pipeline, functions=("transformers",)),
    "supervisor": Form(("planner", "synthesizer", "loop", *_SUPERVISOR), _supervisor, roles=("planner", "synthesizer")),
    "debate": Form(
        (
            *("moderator", "rounds", "parallel_responses", "require_consensus", "round_timeout", "consensus"),
            *("threshold", "blind", "stop_when_stuck"),
        ),
        _debate,
        roles=("moderator",),
        functions=("consensus",),
    ),
    "team": Form(("turn", "entry", "max_turns", "stop", "turn_timeout", "loop"), _team, functions=("turn", "stop")),
    "orchestrator": Form(("plan", *_CONFIG), _orchestrator, leads=True),
}
"""By the word in ``[team]``."""


def read_options(table: Mapping[str, Any], form: Form, path_of: Told, faults: Faults) -> dict[str, Any]:
    """Return the options of ``[pattern]`` as its constructor takes them; what cannot be read is noted and left out."""
    options: dict[str, Any] = {}
    for key, value in faults.keys(table, ("pattern",), form.options).items():
        with faults.of(("pattern", key), f"{key}: "):
            options[key] = _value(key, value, form, path_of)
    return options


def _value(key: str, value: Any, form: Form, path_of: Told) -> Any:
    if is_time(key):
        return seconds_of(value)
    if key == "loop":
        return converted(value, LoopLimits) if isinstance(value, dict) else value
    if key == "plan" and not isinstance(value, str):
        raise ValueError("it must be a text, a line for each step")
    if key == "transformers":
        return _transformers(value, path_of)
    if key in form.functions and isinstance(value, str) and _FILE.fullmatch(value):
        return read_function(value, path_of)
    return value


def _transformers(value: Any, path_of: Told) -> dict[int, Any]:
    good = isinstance(value, dict) and all(place.isdecimal() and isinstance(word, str) for place, word in value.items())
    if not good:
        raise ValueError('it must be a table of places to functions, such as { 1 = "tools.py:shorten" }')
    return {int(place): read_function(word, path_of) for place, word in value.items()}
