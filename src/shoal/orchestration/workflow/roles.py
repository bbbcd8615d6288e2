"""The roles of a team and the agents that take them: checked once, and given to one step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from shoal.orchestration.agents import checked_agent, name_of
from shoal.orchestration.workflow.brief import LEAD

__all__ = ["Crew", "Instance", "NoInstance", "check_roles"]

_TAKEN = ("orchestrator", "self")


class Instance:
    """One agent that takes a role. ``name`` differs from that of all others; ``late``: how many questions it still works
    on though its time for them was up."""

    __slots__ = ("agent", "busy", "late", "name", "role")

    def __init__(self, role: str, name: str, agent: Any) -> None:
        self.role = role
        self.name = name
        self.agent = agent
        self.busy = False
        self.late = 0


def check_roles(lead: Any, roles: Any) -> tuple[Any, dict[str, tuple[Any, ...]]]:
    """Return the lead and the agents of each role as they can be asked.

    Raises:
        ValueError, TypeError: what is wrong, with which role or agent.
    """
    if lead is None:
        raise ValueError("an Orchestrator needs a lead: the agent that plans, decides and sums up")
    checked_lead = checked_agent(lead, "the lead")
    if not isinstance(roles, Mapping):
        raise TypeError(f"roles must be a dict of role to agents, not {type(roles).__name__}")
    if not roles:
        raise ValueError("an Orchestrator needs at least one role with an agent")
    found: dict[str, tuple[Any, ...]] = {}
    places: dict[int, str] = {id(lead): "the lead"}
    for role, given in roles.items():
        _check_role(role, found)
        found[role] = tuple(_agents_of(role, given, places))
    return checked_lead, found


def _check_role(role: Any, known: Collection[str]) -> None:
    if not isinstance(role, str) or not role or role != " ".join(role.split()):
        raise ValueError(f"the name of a role must be text in one line, not {role!r:.80}")
    if role.casefold() in _TAKEN:
        raise ValueError(f"role name {role!r:.80} is taken by the lead")
    same = next((other for other in known if other.casefold() == role.casefold()), None)
    if same is not None:
        raise ValueError(f"roles {same!r} and {role!r:.80} differ in upper and lower case only: name them apart")


def _agents_of(role: str, given: Any, places: dict[int, str]) -> Iterator[Any]:
    agents: Sequence[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    if not agents:
        raise ValueError(f"role {role!r} has no agents")
    for agent in agents:
        before = places.setdefault(id(agent), f"role {role!r}")
        checked = checked_agent(agent, f"an agent of role {role!r}")
        if before != f"role {role!r}" or sum(each is agent for each in agents) > 1:
            raise ValueError(f"agent {name_of(checked)!r} is in two places, {before} and role {role!r}: fork() it")
        yield checked


class NoInstance(Exception):
    """Nobody of a role is left who could take a step."""


class Crew:
    """Who is free, in one run. An instance has one step at a time.

    Args:
        lead: the agent of the role ``Orchestrator``.
        roles: the agents of the others.
    """

    def __init__(self, lead: Any, roles: Mapping[str, Sequence[Any]]) -> None:
        self._instances: dict[str, list[Instance]] = {}
        taken: set[str] = set()
        for role, agents in {LEAD: [lead], **roles}.items():
            self._instances[role] = [Instance(role, _unique(name_of(agent), taken), agent) for agent in agents]
        self._line: list[asyncio.Future[None]] = []  # those who wait, in order

    def of(self, role: str) -> list[Instance]:
        """Return the instances of a role, in their order."""
        return self._instances[role]

    def named(self, role: str, name: str) -> Instance | None:
        """Return an instance by its name; None: the program that began the run had another team."""
        return next((each for each in self._instances[role] if each.name == name), None)

    def free(self, role: str, without: Collection[str] = ()) -> Instance | None:
        """Return the first free instance of *role* that is not among *without*, one that is late only if all are.

        Raises NoInstance: there is no other.
        """
        fit = [each for each in self._instances[role] if each.name not in without]
        if not fit:
            raise NoInstance
        on_time = [each for each in fit if not each.late] or fit
        return next((each for each in on_time if not each.busy), None)

    async def take(self, role: str, name: str | None = None, without: Collection[str] = ()) -> Instance:
        """Return a free instance, who is busy now: the one called *name*, else the first. Raises NoInstance."""
        while (chosen := self._chosen(role, name, without)) is None:
            await self._next_freed()
        chosen.busy = True
        return chosen

    async def _next_freed(self) -> None:
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(freed)
        try:
            await freed
        finally:
            self._line.remove(freed)

    def _chosen(self, role: str, name: str | None, without: Collection[str]) -> Instance | None:
        known = None if name is None else self.named(role, name)
        if known is None:
            return self.free(role, without)
        return None if known.busy else known

    def give_back(self, instance: Instance) -> None:
        """Let the next one have it."""
        instance.busy = False
        self._wake()

    def caught_up(self, instance: Instance) -> None:
        """Say that it no longer works on a question for which its time was up."""
        instance.late -= 1
        self._wake()

    def _wake(self) -> None:
        for freed in self._line:
            if not freed.done():
                freed.set_result(None)


def _unique(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found)
    return found
