"""Agents and pattern together: who has which part, and the pattern that is made of them in a runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from shoal.boxes.spec import BoxSpec, Mount
from shoal.errors import nearest
from shoal.kernel.agent import AgentStatus, Isolation
from shoal.kernel.agents import Agents
from shoal.llm.agent import Agent
from shoal.orchestration.workflow.pythontools import python_tools
from shoal.teamfile.agents import WALLS, Member
from shoal.teamfile.patterns import Cast, Form
from shoal.tomlfile.faults import Faults

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

__all__ = ["Casting", "Opened", "cast_of"]


class Casting:
    """A pattern that can be made: its name and options, its agents, and where code runs."""

    def __init__(
        self, name: str, form: Form, options: Mapping[str, Any], members: list[Member], runner: dict[str, Any] | None
    ) -> None:
        self.members = members
        self._name = name
        self._form = form
        self._options = options
        self._runner = runner

    async def open(self, runtime: AgentRuntime, opened: Opened) -> Any:
        """Return the pattern with its agents in *runtime*, of which *opened* keeps what this did there."""
        runner = await opened.runner(runtime, self._runner) if self._runner is not None else None
        agents: dict[str, list[Any]] = {}
        new: list[str] = []
        try:
            for member in self.members:
                name = member.about.name
                agents[name] = [
                    await _placed(runtime, member, each, runner, opened.names, new) for each in member.agents
                ]
        except BaseException:
            for name in reversed(new):
                await runtime.stop_agent(name, graceful=False)
                await runtime.unregister_agent(name)
            raise
        opened.names.update(new)
        return self._form.build(self._name, dict(self._options), Cast(agents, _lead_of(self.members), runner))


class Opened:
    """What a team has in one runtime: the names of the agents it registered there, and its runner."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._runner: Any = None
        self._life: ReferenceType[Agents] | None = None  # of the runtime: its boxes end with it

    async def runner(self, runtime: AgentRuntime, options: dict[str, Any]) -> Any:
        """Return the runner, one for each life of the runtime. Raises IsolationUnavailableError."""
        life = runtime.agents
        if self._life is None or self._life() is not life:
            runner: Any = runtime.code_runner(**options)
            await runner.check()
            self._runner, self._life = runner, ref(life)
        return self._runner


async def _placed(
    runtime: AgentRuntime, member: Member, agent: Agent[Any], runner: Any, known: Collection[str], new: list[str]
) -> Any:
    """Return an instance as the pattern asks it: itself, or the proxy of what now runs elsewhere."""
    isolation = member.about.isolation
    if isolation == Isolation.INLINE:
        return agent.fork(tools=[*agent.tools, *python_tools(runner)]) if member.kit.python else agent
    if agent.name not in known:
        box = BoxSpec(network=member.network, mounts=_mounts(member)) if isolation in WALLS else None
        await runtime.register_agent(agent.name, agent, isolation=isolation, box=box)  # type: ignore[arg-type]
        new.append(agent.name)
    if runtime.agents.get(agent.name).status in (AgentStatus.STOPPED, AgentStatus.FAILED):
        await runtime.start_agent(agent.name)
    return runtime.agent(agent.name)


def _mounts(member: Member) -> tuple[Mount, ...]:
    """Return what its tools read, under the same paths, read-only."""
    return tuple(Mount(folder, folder) for folder in member.kit.folders)


def cast_of(
    name: str,
    form: Form,
    options: Mapping[str, Any],
    members: Mapping[str, Member | None],
    runner: dict[str, Any] | None,
    faults: Faults,
) -> Casting:
    """Return what makes the pattern, after it was made once to see that it can be. What is wrong goes to *faults*."""
    made = [member for member in members.values() if member is not None]
    _check_lead(form, members, faults)
    options = _checked_names(form, options, members, faults)
    if runner is not None and not form.leads and not any(member.kit.python for member in made):
        faults.add(("runner",), "[runner] is for an orchestrator and for the tool 'python': nobody here uses it")
    lead = _lead_of(made)
    if members and not (form.leads and lead is None):
        agents = {each: _instances(each, member) for each, member in members.items()}
        _rehearse(name, form, options, Cast(agents, lead), faults)
    return Casting(name, form, options, made, runner)


def _instances(name: str, member: Member | None) -> list[Any]:
    """Return the agents of that name; of one with a fault, which was told, somebody in its place."""
    return list(member.agents) if member is not None else [Agent(name=name, model="echo")]


def _lead_of(members: list[Member]) -> str | None:
    return next((member.about.name for member in members if member.about.lead), None)


def _check_lead(form: Form, members: Mapping[str, Member | None], faults: Faults) -> None:
    leads = [name for name, member in members.items() if member is not None and member.about.lead]
    if not form.leads:
        for name in leads:
            faults.add(("agents", name, "lead"), "lead: only an orchestrator has a lead")
        return
    if len(leads) > 1:
        faults.add(("agents", leads[1], "lead"), f"lead: {leads[0]!r} leads already, and there is one lead")
    if not leads and members and None not in members.values():
        faults.add(("agents",), "no agent leads: an orchestrator needs one with lead = true")
    for name in leads:
        _check_alone(name, members, faults, f"the lead {name!r}")


def _check_alone(name: str, members: Mapping[str, Member | None], faults: Faults, who: str) -> None:
    member = members[name]
    if member is not None and member.about.instances > 1:
        faults.add(("agents", name, "instances"), f"instances: {who} is one agent")


def _checked_names(
    form: Form, options: Mapping[str, Any], members: Mapping[str, Member | None], faults: Faults
) -> dict[str, Any]:
    """Return the options without those that name an agent that is not there, which are noted."""
    found = dict(options)
    for key in (*form.roles, "entry"):
        name = options.get(key)
        if name is None:
            continue
        if not isinstance(name, str) or name not in members:
            known = ", ".join(members)
            hint = nearest(str(name), members)
            faults.add(("pattern", key), f"{key}: there is no agent {str(name)[:80]!r}{hint}; there are: {known}")
            del found[key]
        elif key in form.roles:
            _check_alone(name, members, faults, f"the {key} {name!r}")
    return found


def _rehearse(name: str, form: Form, options: Mapping[str, Any], cast: Cast, faults: Faults) -> None:
    """Make the pattern, first with each option alone: so each fault is told, and where it stands."""
    parts = {key: value for key, value in options.items() if key in form.roles}
    before = len(faults)
    with faults.of(("agents",)):
        form.build(name, dict(parts), cast)
    if len(faults) > before:
        return
    for key, value in options.items():
        with faults.of(("pattern", key)):
            form.build(name, {**parts, key: value}, cast)
    if len(faults) == before:
        with faults.of(("pattern",)):
            form.build(name, dict(options), cast)
