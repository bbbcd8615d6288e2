"""What a node keeps of an agent that was registered with it, alive or not."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import ConfigError, IsolationUnavailableError
from shoal.kernel.agent import AgentInstance, AgentStatus, Isolation, RestartPolicy
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.payload import checked

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = [
    "Options",
    "Order",
    "Registration",
    "check_name",
    "live_view",
    "read_options",
    "restart_policy",
    "title_text",
    "words",
]

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
    passing: bool = False
    singleton: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants an agent to be. ``config`` is a copy of what was given."""

    name: str
    source: Any
    config: dict[str, object]
    options: Options

    def instance(self, agent_id: str, node_id: str, now: datetime) -> AgentInstance:
        """Return the agent as it is registered on a node; its id counts when nobody has had the name."""
        options = self.options
        return AgentInstance(
            agent_id=agent_id,
            name=self.name,
            status=AgentStatus.STOPPED,
            created_at=now,
            updated_at=now,
            config=self.config,
            isolation=options.isolation,
            node_id=node_id,
            capabilities=options.capabilities,
            groups=options.groups,
            metadata=options.metadata,
        )


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
    def order(self) -> Order:
        """What it was registered as."""
        return Order(name=self.name, source=self.source, config=self.config, options=self.options)

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


def live_view(instance: AgentInstance, registration: Registration | None, now: datetime) -> AgentInstance:
    """Return what is known of an agent, with what only its node knows when that is this one."""
    cell = None if registration is None else registration.cell
    if cell is None:
        return instance
    task_ids = tuple(cell.attempts)
    usage = cell.handle.usage()
    return msgspec.structs.replace(
        instance,
        process_id=cell.handle.process_id,
        task_id=task_ids[0] if task_ids else None,
        task_ids=task_ids,
        mailbox_size=len(cell.inbox.mailbox) + cell.inbox.parked,
        consecutive_errors=cell.consecutive_errors,
        last_seen=now,
        memory_mb=None if usage is None else usage.memory_mb,
        cpu_seconds=None if usage is None else usage.cpu_seconds,
    )


def read_options(given: Mapping[str, Any], default: ResourceLimit, hosts: Collection[str], most_bytes: int) -> Options:
    """Return how an agent is to be run. Raises ConfigError, IsolationUnavailableError."""
    limits = given.get("limits") or default
    if not isinstance(limits, ResourceLimit):
        raise ConfigError(f"limits must be a ResourceLimit, not {type(limits).__name__}")
    limits.validate()
    isolation = given.get("isolation") or (Isolation.PROCESS if limits.needs_process() else Isolation.INLINE)
    if isolation not in tuple(Isolation):
        raise ConfigError(f"isolation must be one of {', '.join(Isolation)}, not {isolation!r:.80}")
    if limits.needs_process() and isolation in (Isolation.INLINE, Isolation.THREAD):
        raise ConfigError(f"a memory or CPU limit needs a process: it cannot be held with isolation={isolation!r}")
    if str(isolation) not in hosts:
        raise IsolationUnavailableError(
            f"isolation {isolation!r} is not available here: this runtime has {', '.join(hosts)}",
            note="Ask for one of these by name; a weaker one is never taken instead.",
        )
    most = {name: given.get(name, 1) for name in ("max_concurrent_tasks", "max_concurrent_messages")}
    for name, number in most.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"{name} must be a whole number from 1, not {number!r:.80}")
    threshold = given.get("error_threshold", limits.error_threshold)
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 1):
        raise ConfigError(f"error_threshold must be a whole number from 1, or None, not {threshold!r:.80}")
    metadata, _ = checked(dict(given.get("metadata") or {}), "metadata", most_bytes)
    assert isinstance(metadata, dict)
    return Options(
        isolation=sys.intern(str(isolation)),
        capabilities=words(given.get("capabilities"), "capabilities"),
        groups=words(given.get("group"), "group"),
        restart=restart_policy(given.get("restart")),
        metadata=metadata,
        **most,
        limits=limits,
        error_threshold=threshold,
        box=given.get("box"),
        title=title_text(given.get("title", "")),
        passing=bool(given.get("passing", False)),
        singleton=bool(given.get("singleton", False)),
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
