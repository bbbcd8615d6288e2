"""What brings agents to life at one isolation level."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from shoal.kernel.limits import ResourceLimit
from shoal.kernel.message import AgentMessage
from shoal.kernel.task import Task

__all__ = ["Abilities", "Exit", "Handle", "Host", "Invocation", "LaunchSpec", "Link", "RuntimeLink", "ResourceUsage"]


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a host needs to bring an agent to life. ``title`` is what its own process is called in lists of processes."""

    agent_id: str
    name: str
    source: Any
    config: dict[str, object]
    isolation: str
    node_id: str
    runtime_id: str
    limits: ResourceLimit = ResourceLimit()
    max_concurrent_tasks: int = 1
    hook_timeout_seconds: float = 30.0
    box: Any = None
    title: str = ""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a host's handle ended. ``reason``: stopped, died, limit (then ``error`` says which)."""

    reason: str
    exit_code: int | None = None
    stderr_tail: str = ""
    error: Any = None


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent's code can do, known once it is ready."""

    takes_tasks: bool
    takes_messages: bool
    hooks: frozenset[str] = frozenset()


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One entry into the agent's code: ``execute_task`` (a Task), ``on_message`` (an AgentMessage) or another hook.

    ``chain`` lists the invocations that wait for this one, outermost first.
    """

    invocation_id: str
    hook: str
    argument: Any = None
    task: Task | None = None
    chain: tuple[str, ...] = ()


class Link(Protocol):
    """The way from an agent's code back to its runtime; the same verbs in every isolation."""

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb of ``AgentContext`` for an invocation (None: outside any)."""
        ...

    def is_stopping(self) -> bool:
        """Tell whether the agent's cell, its runtime or the present task is to end. From any thread."""
        ...

    def metric(self, kind: str, name: str, value: float) -> None:
        """Note a number of the agent's own: *kind* is count or observe. From any thread, never raises."""
        ...


class RuntimeLink(Link, Protocol):
    """The end of a Link at the runtime, on its loop."""

    def give_back(self, invocation_id: str | None, taken: AgentMessage | list[AgentMessage]) -> None:
        """Take back what a verb had taken for an agent that gave the call up before it had the result.

        It is the agent's first mail again, in its order; it does not count as taken by its task. Never raises.
        """
        ...


class ResourceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process takes: resident memory in MB, CPU time in seconds."""

    memory_mb: float
    cpu_seconds: float


class Handle(Protocol):
    """A living agent. In-loop, thread, process and box look the same."""

    process_id: int | None
    exited: asyncio.Future[Exit]

    async def ready(self) -> Abilities:
        """Wait until the agent is constructed. Raises AgentStartError (constructor), ProcessError (did not come up)."""
        ...

    async def invoke(self, invocation: Invocation) -> Any:
        """Run a hook and return its value; what it raised is raised here.

        Cancelling the waiting coroutine cancels the hook, and returns when the hook has ended.
        """
        ...

    def interrupt(self, invocation_id: str) -> None:
        """Raise in the thread that runs a cancelled invocation which does not end; nothing where there is none."""
        ...

    async def hold(self, timeout: float) -> None:
        """Hold all running invocations at their next safe point. Raises AgentPauseError when none came in time."""
        ...

    async def freeze(self) -> None:
        """Stop the process between two instructions. Raises AgentPauseError where there is none of its own."""
        ...

    def release(self) -> None:
        """Let held or frozen invocations go on."""
        ...

    async def stop(self, grace: float) -> None:
        """End what is left of the agent: ask, wait *grace* seconds, kill, reap. Never raises."""
        ...

    def kill(self) -> None:
        """End it at once and abandon what runs in it; ``exited`` tells when it is gone."""
        ...

    def usage(self) -> ResourceUsage | None:
        """Return what its process takes, None where it has none of its own."""
        ...


class Host(Protocol):
    """Brings agents to life at one isolation level."""

    async def check(self, source: Any, box: Any = None) -> str:
        """Return the level at which an agent would really run: this host's own, or what ``auto`` comes to.

        *box* says more about its walls, None nothing. Raises ConfigError when *source* cannot travel there (the text names
        the object in it that cannot), BoxSpecError, IsolationUnavailableError.
        """
        ...

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent. Raises ConfigError when its source cannot travel there."""
        ...

    async def close(self) -> None:
        """End what the host keeps besides its handles (spare processes)."""
        ...
