"""The tables of the reference, made from the code. ``python -m tests.examples.reference_tables`` renews the pages.

In a page, a table stands between ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shoal import errors
from shoal.boxes import (
    Audit,
    AuditRecord,
    Box,
    BoxLimits,
    BoxPolicy,
    BoxRuntime,
    BoxSpec,
    BoxStats,
    ExecResult,
    LogLine,
    Mount,
    ProbeResult,
)
from shoal.boxes import guest as shoal_guest
from shoal.config import Config, _allowed
from shoal.kernel.agents import AgentOptions
from shoal.kernel.context import Metrics
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.runs import Runs
from shoal.kernel.tasks import TaskOptions
from shoal.llm import Agent
from shoal.orchestration import (
    AgentResult,
    Approval,
    Budget,
    ConditionalPipeline,
    Consensus,
    Debate,
    DebateMessage,
    DebateResult,
    Dissent,
    Handoff,
    LoopLimits,
    ParallelAgents,
    ParallelResult,
    Pipeline,
    PipelineResult,
    PipelineStep,
    RunEvent,
    RunOptions,
    RunRecord,
    RunStep,
    Supervisor,
    SupervisorConfig,
    SupervisorResult,
    Team,
    TeamMessage,
    TeamResult,
    Usage,
    WorkerResult,
    WorkerTask,
)
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.orchestrator import Orchestrator
from shoal.runtime import (
    AgentContext,
    AgentInstance,
    AgentMessage,
    AgentRuntime,
    BaseAgent,
    Capacity,
    DeadLetter,
    Event,
    EventFilter,
    QueuePosition,
    ResourceLimit,
    RestartPolicy,
    RetryPolicy,
    SharedStore,
    SharedValue,
    Task,
    TaskSpec,
)
from shoal.services import (
    AgentInfo,
    AgentProcessManager,
    AgentRecord,
    AgentWatcher,
    Bulkhead,
    Capability,
    CircuitBreaker,
    LoadBalancer,
    LoadBalancerAgent,
    MemoryAwareAgent,
    MultiAgentProcess,
    Pool,
    PoolStats,
    ProcessInfo,
    RegistryClient,
    Reply,
    RequestHeader,
    ServiceAgent,
    Services,
    ThreadPoolAgent,
    WorkerStats,
    codes,
)
from shoal.teamfile import TeamAgent, TeamFile
from shoal.teamfile.agents import AGENT_KEYS
from shoal.teamfile.patterns import PATTERNS

__all__ = ["REFERENCE", "render"]

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RECORDS = (
    *(Task, TaskSpec, RetryPolicy, AgentInstance, RestartPolicy, ResourceLimit, Capacity, QueuePosition),
    *(AgentMessage, DeadLetter, Event, EventFilter, SharedValue),
)
BOX_RECORDS = (Mount, BoxPolicy, ExecResult, LogLine, BoxStats, AuditRecord, ProbeResult)
RESULT_RECORDS = (
    *(AgentResult, ParallelResult, PipelineResult, PipelineStep, SupervisorResult, WorkerTask, WorkerResult),
    *(DebateResult, DebateMessage, Consensus, Dissent, TeamResult, TeamMessage, Handoff),
)
RUN_RECORDS = (Usage, RunRecord, RunStep, RunEvent, Approval)
SERVICE_RECORDS = (Reply, WorkerStats, ProcessInfo, PoolStats, RequestHeader, Capability)
SERVICE_CLASSES = (LoadBalancerAgent, ThreadPoolAgent, MemoryAwareAgent, AgentWatcher)
SHARED = {
    "name": "Of the pattern, in results, keys and the store.",
    "budget": "Its share within a larger run (`Budget`).",
    "loop": "When it goes in circles (`LoopLimits`).",
}
"""What arguments mean that several patterns have."""
TEAM_AGENT_OWN = ("lead", "instances", "isolation", "api_key_env")
"""Keys of agents in team files that are no fields of Agent: the page explains them."""
SECTION = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines])


def first_sentence(thing: Any) -> str:
    """Return the first paragraph of a docstring, on one line and without reST quotes."""
    paragraph = inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.replace("``", "`").split())


# -- configuration and errors


def config() -> str:
    meanings: dict[str, str] = {}
    for keys, text in re.findall(r"^ *([a-z_, ]+): (.+(?:\n {8,}.+)*)", Config.__doc__ or "", re.M):
        meanings.update({key.strip(): " ".join(text.replace("``", "`").split()) for key in keys.split(",")})
    defaults = msgspec.structs.asdict(Config())
    rows = [(f"`{key}`", f"`{value!r}`", _allowed(key), meanings[key]) for key, value in defaults.items()]
    return table(("key", "default", "allowed", "meaning"), rows)


def error_table() -> str:
    classes = [
        thing
        for thing in vars(errors).values()
        if inspect.isclass(thing) and thing.__module__.startswith("shoal.errors.")
    ]
    rows = []
    for cls in classes:
        bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
        rows.append(
            (f"`{cls.__name__}`", bases, ", ".join(f"`{name}`" for name in attributes(cls)), first_sentence(cls))
        )
    return table(("error", "is a", "attributes", "meaning"), rows)


def attributes(cls: type) -> list[str]:
    """Return the attributes that the constructor of *cls* sets itself."""
    if "__init__" not in vars(cls):
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__init__"])))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return sorted({node.attr for node in nodes})


# -- the runtime


def verbs(cls: type) -> Callable[[], str]:
    def make() -> str:
        rows = []
        inherited = {name: thing for base in cls.__mro__[1:-1] for name, thing in vars(base).items()}
        for name, thing in {**vars(cls), **inherited, **vars(cls)}.items():
            if name.startswith("_") or not (inspect.isfunction(thing) or isinstance(thing, property)):
                continue
            does = re.sub(r" Raises [^.]*\.", "", first_sentence(thing))
            raised = dict.fromkeys(re.findall(r"\b[A-Z]\w+Error\b", (thing.__doc__ or "").partition("Raises")[2]))
            rows.append((f"`{signature(name, thing)}`", does, ", ".join(raised)))
        return table(("verb", "does", "raises"), rows)

    return make


def signature(name: str, thing: Any) -> str:
    """Return a call as a reader writes it: names and defaults, without types."""
    if isinstance(thing, property):
        return name
    word = "await " if inspect.iscoroutinefunction(thing) else ""
    return f"{word}{name}({', '.join(_parameters(thing, skip=1))})"


def _parameters(thing: Any, *, skip: int) -> list[str]:
    parts, keywords = [], False
    for parameter in list(inspect.signature(thing).parameters.values())[skip:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            parts.append("*")
            keywords = True
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else "*"
            parts.append(stars + parameter.name)
            keywords = True
        elif parameter.default is parameter.empty:
            parts.append(parameter.name)
        else:
            default = parameter.default
            parts.append(f"{parameter.name}={str(default) if isinstance(default, bool) else repr(default)}")
    return parts


def options(cls: Any) -> Callable[[], str]:
    def make() -> str:
        rows = [(f"`{name}`", f"`{kind.__forward_arg__}`") for name, kind in cls.__annotations__.items()]
        return table(("option", "type"), rows)

    return make


def records(classes: Iterable[type[msgspec.Struct]]) -> Callable[[], str]:
    def make() -> str:
        rows = []
        for cls in classes:
            fields = [
                field.name
                if field.required or field.default_factory is not msgspec.NODEFAULT
                else f"{field.name}={_plain(field.default)}"
                for field in msgspec.structs.fields(cls)
            ]
            shown = ", ".join(f"`{field}`" for field in fields)
            rows.append((f"`{cls.__name__}`", shown, first_sentence(cls)))
        return table(("record", "fields", "is"), rows)

    return make


def _plain(value: object) -> str:
    return (
        f"{value.__class__.__name__}()" if isinstance(value, msgspec.Struct) else repr(getattr(value, "value", value))
    )


# -- boxes


def fields(cls: type[msgspec.Struct]) -> Callable[[], str]:
    """The fields of a record whose docstring explains each under ``Args``."""

    def make() -> str:
        meanings = _explained(cls)
        defaults = msgspec.structs.asdict(cls())
        rows = [(f"`{name}`", f"`{value!r}`", meanings[name]) for name, value in defaults.items()]
        return table(("field", "default", "meaning"), rows)

    return make


def members(cls: type) -> Callable[[], str]:
    """The arguments of a dataclass whose docstring explains each under ``Args``."""

    def make() -> str:
        meanings = _explained(cls)
        rows = []
        for field in dataclasses.fields(cls):
            if field.init:
                default = "" if field.default is dataclasses.MISSING else f"`{_plain(field.default)}`"
                rows.append((f"`{field.name}`", default, meanings.get(field.name, SHARED.get(field.name, ""))))
        return table(("argument", "default", "meaning"), rows)

    return make


def state_of_a_box() -> str:
    return table(("attribute", "is"), [(f"`{name}`", text) for name, text in _explained(Box).items()])


def _explained(cls: type) -> dict[str, str]:
    found = re.findall(r"^ {4}([a-z_]+): (.+(?:\n {8,}.+)*)", inspect.cleandoc(cls.__doc__ or ""), re.M)
    return {name: " ".join(text.replace("``", "`").split()) for name, text in found}


def guest() -> str:
    rows = []
    for name in shoal_guest.__all__:
        thing = getattr(shoal_guest, name)
        if inspect.isfunction(thing):
            word = "await " if inspect.iscoroutinefunction(thing) else ""
            does = re.sub(r" Raises [^.]*\.", "", first_sentence(thing))
            raised = dict.fromkeys(re.findall(r"\b[A-Z]\w+Error\b", (thing.__doc__ or "").partition("Raises")[2]))
            rows.append((f"`{word}{name}({', '.join(_parameters(thing, skip=0))})`", does, ", ".join(raised)))
    return table(("verb", "does", "raises"), rows)


def keys(names: Iterable[str], *classes: type) -> Callable[[], str]:
    """Keys of a team file: fields of *classes*, whose docstrings explain them."""

    def make() -> str:
        meanings: dict[str, str] = dict(SHARED)
        defaults: dict[str, object] = {}
        for cls in classes:
            for several, text in re.findall(
                r"^ {4}([a-z_, ]+): (.+(?:\n {8,}.+)*)", inspect.cleandoc(cls.__doc__ or ""), re.M
            ):
                meanings |= {name.strip(): " ".join(text.replace("``", "`").split()) for name in several.split(",")}
            parts = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else msgspec.structs.fields(cls)
            defaults |= {part.name: part.default for part in parts}
        rows = []
        for name in names:
            default = defaults.get(name)
            shown = "" if default in (None, "", (), dataclasses.MISSING, msgspec.NODEFAULT) else f"`{_plain(default)}`"
            rows.append((f"`{name}`", shown, meanings[name]))
        return table(("key", "default", "meaning"), rows)

    return make


# -- services


def arguments(cls: type) -> Callable[[], str]:
    """What the constructor of a class takes, or what a record has: its docstring explains each, several by commas."""

    def make() -> str:
        parameters = inspect.signature(cls).parameters
        rows = []
        for name, meaning in _several_explained(cls).items():
            default = parameters[name].default if name in parameters else vars(cls).get(name, inspect.Parameter.empty)
            plain = isinstance(default, str | int | float | tuple | None)
            rows.append((f"`{name}`", f"`{_plain(default)}`" if plain else "", meaning))
        return table(("name", "default", "meaning"), rows)

    return make


def _several_explained(cls: type) -> dict[str, str]:
    """Return what a docstring says of each name; where two lines speak of one, the one that speaks of it alone."""
    found = re.findall(r"^ {4}([a-z_]+(?:, [a-z_]+)*): (.+(?:\n {8,}.+)*)", inspect.cleandoc(cls.__doc__ or ""), re.M)
    alone = {names: text for names, text in found if "," not in names}
    meanings = {name: alone.get(name, text) for names, text in found for name in names.split(", ")}
    return {name: " ".join(text.replace("``", "`").split()) for name, text in meanings.items()}


def classes(*several: type) -> Callable[[], str]:
    def make() -> str:
        return table(("class", "does"), [(f"`{cls.__name__}`", first_sentence(cls)) for cls in several])

    return make


def service_codes() -> str:
    """The codes with the text that stands below each in their module."""
    body = ast.parse(inspect.getsource(codes)).body
    rows = [
        (f"`{named.targets[0].id}`", " ".join(text.value.value.replace("``", "`").split()))
        for named, text in itertools.pairwise(body)
        if isinstance(named, ast.Assign) and isinstance(named.targets[0], ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    ]
    return table(("code", "means"), rows)


MAKERS: dict[str, Callable[[], str]] = {
    "config": config,
    "errors": error_table,
    "runtime": verbs(AgentRuntime),
    "agent": verbs(BaseAgent),
    "context": verbs(AgentContext),
    "metrics": verbs(Metrics),
    "shared": verbs(SharedStore),
    "agent_options": options(AgentOptions),
    "task_options": options(TaskOptions),
    "records": records(RECORDS),
    "boxes": verbs(BoxRuntime),
    "box": verbs(Box),
    "box_state": state_of_a_box,
    "box_spec": fields(BoxSpec),
    "box_limits": fields(BoxLimits),
    "box_records": records(BOX_RECORDS),
    "audit": verbs(Audit),
    "guest": guest,
    "model_agent": members(Agent),
    "model_agent_verbs": verbs(Agent),
    "parallel": members(ParallelAgents),
    "pipeline": members(Pipeline),
    "conditional": members(ConditionalPipeline),
    "supervisor": members(Supervisor),
    "supervisor_config": members(SupervisorConfig)
    if dataclasses.is_dataclass(SupervisorConfig)
    else fields(SupervisorConfig),
    "debate": members(Debate),
    "team": members(Team),
    "results": records(RESULT_RECORDS),
    "runs": verbs(Runs),
    "run_handle": verbs(RunHandle),
    "run_records": records(RUN_RECORDS),
    "budget": fields(Budget),
    "loop_limits": fields(LoopLimits),
    "run_options": fields(RunOptions),
    "services": verbs(Services),
    "service_agent": verbs(ServiceAgent),
    "service_attributes": arguments(ServiceAgent),
    "agent_info": arguments(AgentInfo),
    "agent_record": arguments(AgentRecord),
    "service_records": records(SERVICE_RECORDS),
    "service_classes": classes(*SERVICE_CLASSES),
    "service_codes": service_codes,
    "load_balancer": arguments(LoadBalancer),
    "load_balancer_verbs": verbs(LoadBalancer),
    "breaker": arguments(CircuitBreaker),
    "breaker_verbs": verbs(CircuitBreaker),
    "bulkhead": arguments(Bulkhead),
    "bulkhead_verbs": verbs(Bulkhead),
    "pool": arguments(Pool),
    "pool_verbs": verbs(Pool),
    "multi": arguments(MultiAgentProcess),
    "multi_verbs": verbs(MultiAgentProcess),
    "manager": arguments(AgentProcessManager),
    "manager_verbs": verbs(AgentProcessManager),
    "registry_client": arguments(RegistryClient),
    "registry_client_verbs": verbs(RegistryClient),
    "team_file": verbs(TeamFile),
    "team_agent": records((TeamAgent,)),
    "team_agents": keys([key for key in AGENT_KEYS if key not in TEAM_AGENT_OWN], Agent),
    "team_parallel": keys(PATTERNS["parallel"].options, ParallelAgents),
    "team_pipeline": keys(PATTERNS["pipeline"].options, Pipeline),
    "team_supervisor": keys(PATTERNS["supervisor"].options, Supervisor, SupervisorConfig),
    "team_debate": keys(PATTERNS["debate"].options, Debate),
    "team_team": keys(PATTERNS["team"].options, Team),
    "team_orchestrator": keys(PATTERNS["orchestrator"].options, Orchestrator, OrchestratorConfig),
}


def render(text: str) -> str:
    """Return a page with its tables made anew."""
    return SECTION.sub(lambda found: f"{found[1]}{MAKERS[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    for page in REFERENCE.glob("*.md"):
        page.write_text(render(page.read_text()))
