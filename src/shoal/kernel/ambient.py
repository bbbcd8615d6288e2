"""What code finds around it without being handed it: the runtime whose agent, or whose run, it is part of.

An agent's code, and a pattern that ``runtime.run`` carries out, have an ambient; it travels with asyncio tasks and with
``asyncio.to_thread``, as every context variable does. Code outside of a runtime has none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from shoal.kernel.context import current_invocation
from shoal.kernel.ports import Clock, Link

__all__ = ["AgentAmbient", "Ambient", "TaskRun", "current_ambient"]


class Ambient(Protocol):
    """A runtime as the code within it sees it, the same on the loop, in a thread and in a process of its own."""

    @property
    def shared(self) -> dict[str, Any]:
        """What the wings keep for all code that has this ambient, by names of their own."""
        ...

    @property
    def clock(self) -> Clock:
        """Time, chance and ids of the runtime."""
        ...

    def call(self, verb: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb at the runtime: those of ``kernel/link.py``. Records go and come as records.

        Raises what the verb raises, LeaseLostError when this code was given up or its node lost its lease.
        """
        ...


current_ambient: ContextVar[Ambient | None] = ContextVar("shoal_ambient", default=None)
"""The ambient of this asyncio task or thread."""


class TaskRun(Protocol):
    """The run of a task that an invocation executes (``kernel/taskrun.py``)."""

    async def over(self, error: BaseException | None) -> None:
        """The invocation has ended."""
        ...


class AgentAmbient:
    """The ambient of an agent's code: the verbs of its link, for the invocation under way.

    ``runs`` has the runs of the tasks that are being executed, by invocation, where there are any. ``run_sync`` runs
    synchronous code of the present invocation where it may block, so that a pause and a time-out know of it.
    """

    __slots__ = ("clock", "link", "run_sync", "runs", "shared")

    def __init__(self, clock: Clock, link: Link, run_sync: Callable[..., Awaitable[Any]]) -> None:
        self.clock: Clock = clock
        self.link = link
        self.run_sync = run_sync
        self.shared: dict[str, Any] = {}
        self.runs: dict[str, TaskRun] = {}

    def call(self, verb: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb."""
        invocation = current_invocation.get()
        return self.link.call(verb, None if invocation is None else invocation.invocation_id, args)

    async def over(self, invocation_id: str, error: BaseException | None) -> None:
        """An invocation has ended, and with it this life of its run."""
        run = self.runs.pop(invocation_id, None)
        if run is not None:
            await run.over(error)
