"""Who carries out the work of a pool: threads of its own, or processes of the runtime around it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from shoal.errors import RuntimeStateError
from shoal.kernel.ambient import Ambient
from shoal.kernel.threads import DaemonPool

__all__ = ["Kind", "ProcessWorker", "ThreadWorker", "Worker", "Work", "WorkerPlace"]

Kind = Literal["thread", "process"]

UNLIMITED_SECONDS = 365 * 86_400.0
"""The pool itself looks after the time of its work."""


class Work(msgspec.Struct, frozen=True):
    """A call that somebody wants: ``fn(*args)``. ``context`` runs it among the caller's context variables."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    context: Any


class Worker(Protocol):
    """Carries out one piece of work after the other; one that is not ``lasting`` is made anew each time it was idle."""

    lasting: bool

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin, and return what comes of it."""
        ...

    def give_up(self, running: asyncio.Future[Any]) -> None:
        """Nobody waits for this work any more. End it, if that is possible; ``running`` tells when it has ended."""
        ...

    def leave(self, running: asyncio.Future[Any]) -> None:
        """End this work, or leave it behind: ``running`` has ended soon in any case."""
        ...

    def end(self) -> None:
        """There will be no more work."""
        ...


class ThreadWorker:
    """One daemon thread. What runs in it cannot be ended from outside."""

    lasting = True

    def __init__(self) -> None:
        self._thread = DaemonPool(1)

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin in the thread, with the caller's context variables."""
        call = functools.partial(work.context.run, _synchronous, work.fn, *work.args)
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def give_up(self, running: asyncio.Future[Any]) -> None:
        """Let it run: a thread keeps its place until it ends."""

    def leave(self, running: asyncio.Future[Any]) -> None:
        """Leave it behind; it is a daemon, and nobody hears of its result."""
        running.cancel()

    def end(self) -> None:
        """Let the thread end, when its work does."""
        self._thread.shutdown(wait=False)


class ProcessWorker:
    """A child process of the runtime for each piece of work, of the kind that it keeps ready: nothing of one is left for the
    next.

    The work travels by cloudpickle, one way; what comes back is JSON.
    """

    lasting = False

    def __init__(self, name: str, ambient: Ambient | None) -> None:
        if ambient is None:
            raise RuntimeStateError(
                f"pool {name!r} needs a runtime that starts its processes, and there is none around it",
                note="Make the pool in an agent of a runtime, or use kind='thread'.",
            )
        self._name = name
        self._ambient = ambient

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin in a child."""
        program = functools.partial(work.fn, *work.args)
        order = {"isolation": "process", "program": program, "name": self._name, "timeout": UNLIMITED_SECONDS}
        return asyncio.get_running_loop().create_task(self._ask(order), name=f"pool {self._name}")

    async def _ask(self, order: dict[str, Any]) -> Any:
        return await self._ambient.call("run_tool", order)

    def give_up(self, running: asyncio.Future[Any]) -> None:
        """Kill the child."""
        running.cancel()

    def leave(self, running: asyncio.Future[Any]) -> None:
        """Kill the child."""
        running.cancel()

    def end(self) -> None:
        """Nothing is kept."""


class WorkerPlace(msgspec.Struct):
    """How workers of one kind are made. ``ambient`` is the runtime around the pool."""

    kind: Kind
    name: str
    ambient: Any

    def worker(self) -> Worker:
        """Return a new worker. Raises RuntimeStateError: there is no runtime to start its process."""
        return ThreadWorker() if self.kind == "thread" else ProcessWorker(self.name, self.ambient)


def _synchronous(fn: Callable[..., Any], *args: Any) -> Any:
    value = fn(*args)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{getattr(fn, '__qualname__', fn)!s:.80} is asynchronous: await it, it needs no thread")
    return value
