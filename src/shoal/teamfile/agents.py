"""The agents of a team file: ``[agents.NAME]``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple

import msgspec

from shoal.errors import ConfigError
from shoal.kernel.agent import Isolation
from shoal.kernel.budget import LoopLimits
from shoal.llm.agent import Agent
from shoal.llm.model import Model
from shoal.llm.providers import open_model
from shoal.teamfile.names import check_handoffs, check_names, is_name
from shoal.teamfile.settings import read_secret
from shoal.teamfile.tools import Kit, Shelf, needs_network
from shoal.tomlfile.faults import Faults, Path_, is_secret
from shoal.tomlfile.values import Told, converted, is_time, seconds_of

__all__ = ["AGENT_KEYS", "WALLS", "Member", "Opened", "TeamAgent", "read_agents"]

_PYTHON_ONLY = ("name", "api_key", "store", "output_type", "approve")
_OWN = ("lead", "instances", "isolation", "api_key_env")
AGENT_KEYS = tuple(each.name for each in fields(Agent) if each.init and each.name not in _PYTHON_ONLY) + _OWN
"""The keys of ``[agents.NAME]``."""
_MODEL = ("provider", "model", "base_url", "price")
_OF_THE_MODEL = (*_MODEL, "fallback", "cheap_model", "settings", "api_key_env")
"""What another model in place of all has no use for."""
WALLS = (Isolation.BUBBLEWRAP, Isolation.GVISOR, Isolation.MICROVM, Isolation.AUTO)
_FILE_MODEL = re.compile(r"(scripted|recorded):(.+)", re.DOTALL)


class TeamAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What a team file says of an agent, and no key.

    Attributes:
        name: by which the others know it.
        role: what it is.
        model: as it is written; empty: the provider's default.
        isolation: where its code runs.
        instances: how many there are of it.
        lead: whether it leads an orchestrator.
        tools: as they are written.
    """

    name: str
    role: str = ""
    model: str = ""
    isolation: str = "inline"
    instances: int = 1
    lead: bool = False
    tools: tuple[str, ...] = ()


class Member:
    """An agent of the file, made: ``agents`` are its instances, each under a name of its own."""

    def __init__(self, about: TeamAgent, agent: Agent[Any], kit: Kit) -> None:
        self.about = about
        self.kit = kit
        names = [about.name, *(f"{about.name}-{number}" for number in range(2, about.instances + 1))]
        self.agents = [agent, *(agent.fork(name=name) for name in names[1:])]

    @property
    def network(self) -> bool:
        """Whether its code goes out of its process."""
        return needs_network(self.kit, self.about.model)


class Opened(NamedTuple):
    """A model, its name as the file says it, and whether its key is given, or none is needed, wherever it runs."""

    model: Model
    told: str
    keyed: bool


class _Reader:
    """Reads ``[agents.NAME]``, one after the other."""

    def __init__(self, shelf: Shelf, path_of: Told, model: str | None, faults: Faults) -> None:
        self._shelf = shelf
        self._path_of = path_of
        self._model = model
        self._faults = faults
        self._models: dict[str, Model] = {}

    def read(self, name: str, given: object) -> Member | None:
        """Return the agent, or None when something is wrong with it."""
        place: Path_ = ("agents", name)
        faults, before = self._faults, len(self._faults)
        if not isinstance(given, dict):
            faults.add(place, f"{name} must be a table: [agents.{name}], and its keys below it")
            return None
        self._refuse_keys(given, place)
        table = faults.keys({key: given[key] for key in given if key not in _PYTHON_ONLY}, place, AGENT_KEYS)
        own = self._own(table, place)
        kit = self._shelf.kit(table.pop("tools", []), (*place, "tools"))
        opened = self._model_of(table, place)
        values = self._values(table, name, place)
        if opened is None or len(faults) > before:
            return None
        agent = self._made(name, values | {"model": opened.model}, place)
        if agent is None:
            return None
        words = tuple(given.get("tools", ()))
        about = TeamAgent(name=name, role=agent.role, model=opened.told, tools=words, **own)
        member = Member(about, agent.fork(tools=kit.tools), kit) if self._tools_fit(agent, kit, place) else None
        if member is not None:
            self._check_place(member, opened.keyed, place)
        return member

    def _refuse_keys(self, given: Mapping[str, Any], place: Path_) -> None:
        """Note what no file may say: keys in the open, and what only a program can give."""
        for key in given:
            if key == "api_key":
                text = "api_key: a key is not written here: set it in the environment, and name it with api_key_env"
                self._faults.add((*place, key), text)
            elif key == "name":
                self._faults.add((*place, key), f"name: an agent's name is that of its table, [agents.{place[-1]}]")
            elif key in _PYTHON_ONLY:
                self._faults.add((*place, key), f"{key} can be given in Python only")
        for path in _secrets(given.get("settings")):
            self._faults.add((*place, "settings"), f"settings.{path}: a key is not written here: use api_key_env")

    def _own(self, table: dict[str, Any], place: Path_) -> dict[str, Any]:
        """Take out what is no field of an Agent, and check it."""
        isolation = table.pop("isolation", "inline")
        instances, lead = table.pop("instances", 1), table.pop("lead", False)
        if isolation not in list(Isolation):
            allowed = ", ".join(Isolation)
            self._faults.add((*place, "isolation"), f"isolation={isolation!r:.80}: it must be one of {allowed}")
        if isinstance(instances, bool) or not isinstance(instances, int) or not 1 <= instances <= 100:
            self._faults.add(
                (*place, "instances"), f"instances={instances!r:.80}: it must be a whole number from 1 to 100"
            )
        if not isinstance(lead, bool):
            self._faults.add((*place, "lead"), f"lead={lead!r:.80}: it must be true or false")
        return {"isolation": str(isolation), "instances": instances, "lead": lead}

    def _model_of(self, table: dict[str, Any], place: Path_) -> Opened | None:
        """Take out what says which model it has, and open it; None: something is wrong with it."""
        variable = table.pop("api_key_env", None)
        group = {key: table.pop(key) for key in _MODEL if key in table}
        if self._model is not None:
            for key in _OF_THE_MODEL:
                table.pop(key, None)
            return self._opened({"model": self._model}, place)
        before = len(self._faults)
        if variable is not None:
            with self._faults.of((*place, "api_key_env"), "api_key_env: "):
                group["api_key"] = read_secret(variable)
        if not group.keys() & {"model", "provider"}:
            self._faults.add(place, f'agent {place[-1]!r} has no model: give it model = "provider:name"')
        for key in ("provider", "model", "base_url"):
            if not isinstance(group.get(key, ""), str):
                self._faults.add((*place, key), f"{key} must be text")
        if isinstance(group.get("price"), list):
            group["price"] = tuple(group["price"])
        if "model" in group and isinstance(group["model"], str):
            group["model"] = self._beside(group["model"])
        return self._opened(group, place) if len(self._faults) == before else None

    def _opened(self, group: dict[str, Any], place: Path_) -> Opened | None:
        """Return the model that *group* says; agents that say the same share it."""
        told = str(group.get("model") or group.get("provider"))
        which = repr(sorted(group.items()))
        keyed = "api_key" in group or "base_url" in group
        with self._faults.of((*place, "model" if "model" in group else "provider")), _in_file_words():
            if which not in self._models:
                self._models[which] = open_model(group.pop("model", None), **group)
            return Opened(self._models[which], told, keyed)
        return None

    def _beside(self, model: str) -> str:
        """Return a model's name; a file in it stands beside the team file."""
        found = _FILE_MODEL.fullmatch(model)
        return model if found is None else f"{found[1]}:{self._path_of(found[2])}"

    def _values(self, table: Mapping[str, Any], name: str, place: Path_) -> dict[str, Any]:
        """Return the other fields, each tried alone."""
        values: dict[str, Any] = {}
        for key, value in table.items():
            with self._faults.of((*place, key)):
                values[key] = self._value(key, value)
                Agent(name=name, model="echo", **{key: values[key]})
        return values

    def _value(self, key: str, value: Any) -> Any:
        if is_time(key):
            return seconds_of(value)
        if key == "loop" and isinstance(value, dict):
            return converted(value, LoopLimits)
        if key == "fallback" and isinstance(value, list):
            return [self._beside(each) if isinstance(each, str) else each for each in value]
        if key == "cheap_model" and isinstance(value, str):
            return self._beside(value)
        return value

    def _made(self, name: str, values: dict[str, Any], place: Path_) -> Agent[Any] | None:
        with self._faults.of(place):
            return Agent(name=name, **values)
        return None

    def _tools_fit(self, agent: Agent[Any], kit: Kit, place: Path_) -> bool:
        before = len(self._faults)
        with self._faults.of((*place, "tools"), "tools: "):
            agent.fork(tools=kit.tools)
        return len(self._faults) == before

    def _check_place(self, member: Member, keyed: bool, place: Path_) -> None:
        """Note what it cannot do where it is to run."""
        isolation = member.about.isolation
        if isolation != Isolation.INLINE and member.kit.python:
            self._faults.add((*place, "tools"), f"tools: 'python' is for agents that are inline, not in {isolation}")
        if isolation not in WALLS:
            return
        others = [*member.agents[0].fallback, *([cheap] if (cheap := member.agents[0].cheap_model) else [])]
        if needs_network(Kit(), member.about.model) and not keyed:
            text = f"isolation={isolation!r}: the environment's keys are not there: name its key with api_key_env"
            self._faults.add((*place, "isolation"), text)
        elif any(needs_network(Kit(), other) for other in others):
            text = f"isolation={isolation!r}: other models have no key there: leave out fallback and cheap_model"
            self._faults.add((*place, "isolation"), text)


def read_agents(
    whole: Mapping[str, Any], shelf: Shelf, path_of: Told, model: str | None, faults: Faults
) -> dict[str, Member | None]:
    """Return the agents by name, in the order of the file; None: something is wrong with that one.

    Args:
        whole: the file.
        shelf: where tools come from.
        path_of: what makes paths of texts.
        model: takes the place of every model.
        faults: where faults go.
    """
    tables = whole.get("agents", {})
    if not isinstance(tables, dict) or not tables:
        faults.add(("agents",), "there are no agents: write a table [agents.NAME] for each")
        return {}
    if model is not None:
        try:
            open_model(model)
        except ValueError as error:
            raise ConfigError(f"the model {model[:80]!r} that is to take the place of all: {error}") from error
    reader = _Reader(shelf, path_of, model, faults)
    found = {name: reader.read(name, given) for name, given in tables.items() if is_name(name, faults)}
    names = {name: [agent.name for agent in member.agents] for name, member in found.items() if member is not None}
    check_names(tables, names, faults)
    check_handoffs(tables, {*tables, *(each for several in names.values() for each in several)}, faults)
    return found


@contextmanager
def _in_file_words() -> Iterator[None]:
    """Have errors about keys say what a file can say."""
    try:
        yield
    except ConfigError as error:
        faults = [fault.replace("give api_key=", "name another with api_key_env") for fault in error.faults]
        raise ConfigError(faults) from error


def _secrets(settings: object, path: str = "") -> list[str]:
    """Return the ways to what looks like a key in a table of settings."""
    if isinstance(settings, list):
        return [each for part in settings for each in _secrets(part, path)]
    if not isinstance(settings, dict):
        return []
    found = []
    for name, value in settings.items():
        found += [f"{path}{name[:80]}"] if is_secret(name) else _secrets(value, f"{path}{name[:80]}.")
    return found
