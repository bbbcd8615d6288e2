"""What a node keeps of an agent that was registered with it, alive or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.agent import AgentInstance, RestartPolicy
from shoal.kernel.limits import ResourceLimit

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["Options", "Registration"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is to be run. ``limits`` are its own; a field that is None there is the runtime's."""

    isolation: str
    capabilities: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    metadata: dict[str, object] = {}
    max_concurrent_tasks: int = 1
    limits: ResourceLimit = ResourceLimit()
    error_threshold: int | None = None
    box: Any = None


class Registration:
    """An agent of this node: its code, its options, what the store knows of it, and its cell while it lives."""

    def __init__(self, source: Any, config: dict[str, object], options: Options, instance: AgentInstance) -> None:
        self.source = source
        self.config = config
        self.options = options
        self.instance = instance
        self.cell: Cell | None = None
        self.groups: set[str] = set(instance.groups)
        self.lock = asyncio.Lock()  # one verb at a time on one agent
        self.generation = 0  # how often it was started: part of invocation ids, so those of an earlier life are void
        self.reserved = 0  # lanes offered in a claim that is under way
        self.targets: tuple[str, ...] = ()
        self.retarget()

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
            *(f"group:{group}" for group in sorted(self.groups)),
        )
