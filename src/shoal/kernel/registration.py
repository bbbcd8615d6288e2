"""What a node keeps of an agent that was registered with it, alive or not."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import ConfigError
from shoal.kernel.agent import AgentInstance, RestartPolicy
from shoal.kernel.limits import ResourceLimit

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["Options", "Registration", "check_name", "restart_policy", "title_text", "words"]

_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


_RESTART = RestartPolicy()  # one record for all who have no policy of their own
_STAYS = ("agent_id", "name", "created_at", "isolation", "capabilities", "config")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is to be run. ``limits`` are its own; a field that is None there is the runtime's."""

    isolation: str
    capabilities: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    restart: RestartPolicy = _RESTART
    metadata: dict[str, object] = {}
    max_concurrent_tasks: int = 1
    max_concurrent_messages: int = 1
    limits: ResourceLimit = ResourceLimit()
    error_threshold: int | None = None
    box: Any = None
    title: str = ""


class Registration:
    """An agent of this node: its code, its options, what the store knows of it, and its cell while it lives."""

    __slots__ = ("_instance", "cell", "config", "generation", "groups", "lock", "options", "source", "targets")

    def __init__(self, source: Any, config: dict[str, object], options: Options, instance: AgentInstance) -> None:
        self.source = source
        self.config = config
        self.options = options
        self._instance = instance
        self.cell: Cell | None = None
        self.groups = tuple(sorted(instance.groups))
        self.lock = asyncio.Lock()  # one verb at a time on one agent
        self.generation = 0  # how often it was started: part of invocation ids, so those of an earlier life are void
        self.targets: tuple[str, ...] = ()
        self.retarget()

    @property
    def instance(self) -> AgentInstance:
        """What the store knows of it. Fields that never change are kept once, however often it is read anew."""
        return self._instance

    @instance.setter
    def instance(self, found: AgentInstance) -> None:
        known = {field: getattr(self._instance, field) for field in _STAYS}
        self._instance = msgspec.structs.replace(found, metadata=self.options.metadata, **known)

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return self.instance.agent_id

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.instance.name

    def retarget(self) -> None:
        """Work out anew which target words of tasks its slots take."""
        self.targets = (
            "",
            f"agent:{self.agent_id}",
            *(f"capability:{word.casefold()}" for word in self.options.capabilities),
            *(f"group:{group}" for group in self.groups),
        )


def check_name(name: object) -> None:
    """Raise ConfigError unless *name* can be an agent's."""
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise ConfigError(f"agent name must be text of 1 to 100 characters, not {str(name)[:80]!r}")
    if _UUID.fullmatch(name):
        raise ConfigError(f"agent name {name!r} is shaped like an id; choose one that is not")


def restart_policy(given: object) -> RestartPolicy:
    """Return the policy that was given, or the default. Raises ConfigError for one that cannot be followed."""
    if given is None:
        return _RESTART
    if not isinstance(given, RestartPolicy):
        raise ConfigError(f"restart must be a RestartPolicy, not {type(given).__name__}")
    faults = []
    if given.mode not in ("on_failure", "always", "never"):
        faults.append(f"restart.mode must be on_failure, always or never, not {given.mode!r:.80}")
    for field, least in (("max_restarts", 0), ("window_seconds", 0), ("initial_seconds", 0), ("factor", 1)):
        value = getattr(given, field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            faults.append(f"restart.{field} must be a number from {least}, not {value!r:.80}")
    if faults:
        raise ConfigError(faults)
    return given


def title_text(given: object) -> str:
    """Return the title that was given. Raises ConfigError for what cannot be one."""
    if not isinstance(given, str) or len(given) > 120:
        raise ConfigError(f"title must be text of at most 120 characters, not {given!r:.80}")
    return given


def words(given: Any, what: str) -> tuple[str, ...]:
    """Return one or more words as a tuple, each once. Raises ConfigError naming *what* they are."""
    found = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    for word in found:
        if not isinstance(word, str) or not 1 <= len(word) <= 100:
            raise ConfigError(f"{what} must be texts of 1 to 100 characters, not {word!r:.80}")
    return tuple(dict.fromkeys(found))
