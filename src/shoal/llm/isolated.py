"""Tools beside the caller's own loop: in threads, and in processes and boxes of their own, which a runtime starts."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.errors import ToolError
from shoal.kernel.ambient import Ambient, current_ambient
from shoal.kernel.failure import as_ordinary
from shoal.kernel.threads import DaemonPool, Interrupted
from shoal.llm.signatures import Call
from shoal.llm.toolvalues import Outcome, failed, presented

__all__ = ["Program", "ThreadRun", "ambient_for", "in_a_process", "is_async"]

VERB = "run_tool"
"""The verb of a runtime that calls a program in a child of its own: ``isolation``, ``program``, ``name``, ``timeout``.

The program is a callable without parameters; it is packed, called in the child, awaited there if there is something to
await, and returns a JSON value. It raises ToolTimeoutError when the child was killed at the time-out (seconds from when it
was ready), DeadAgentError when it ended by itself.
"""


class Program:
    """One call of a tool, as it travels to a child."""

    def __init__(self, name: str, fn: Callable[..., Any], call: Call) -> None:
        self.name = name
        self.fn = fn
        self.call = call

    async def __call__(self) -> Any:
        """Make the call; returns its outcome as JSON values. In the child nothing but this runs."""
        try:
            if is_async(self.fn):
                value = await self.fn(*self.call.args, **self.call.kwargs)
            else:
                value = await asyncio.to_thread(self.fn, *self.call.args, **self.call.kwargs)
                value = await value if inspect.isawaitable(value) else value
            outcome = presented(value, self.name)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  the tool's own code: the model is told
            outcome = failed(error)
        return msgspec.to_builtins(outcome)


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling *fn* makes a coroutine."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def ambient_for(name: str, isolation: str) -> Ambient:
    """Return the runtime around this code. Raises ToolError: there is none that could start a process."""
    ambient = current_ambient.get()
    if ambient is None:
        raise ToolError(
            f"tool {name!r} has isolation={isolation!r}, which needs a runtime, and there is none here",
            tool=name,
            note="Run the agent with runtime.run(...) or in an agent of the runtime, or use isolation='thread'.",
        )
    return ambient


async def in_a_process(ambient: Ambient, isolation: str, program: Program, timeout: float) -> Outcome:
    """Make the call in a child. Raises ToolTimeoutError: its time was up, and it was killed."""
    args = {"isolation": isolation, "program": program, "name": program.name, "timeout": timeout}
    return msgspec.convert(await ambient.call(VERB, args), Outcome)


class ThreadRun:
    """One call in a thread, with the context variables of its caller.

    Attributes:
        stopping: the time is up, or nobody waits any more.
    """

    def __init__(self, pool: DaemonPool, fn: Callable[[], Any]) -> None:
        self._pool = pool
        self._fn = fn
        self._context = contextvars.copy_context()
        self._job: Callable[[], Any] = self._in_context  # the pool knows a job by its callable
        self._begun = False
        self.stopping = False

    def _in_context(self) -> Any:
        return self._context.run(self._work)

    def _work(self) -> Any:
        self._begun = True
        try:
            return self._fn()
        except Exception:
            raise
        except Interrupted:
            raise
        except BaseException as error:
            raise as_ordinary(error) from error

    async def result(self) -> Any:
        """Return what the call returns. A cancellation waits until it has ended: a thread cannot be cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._job)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.stopping = True
            if not self._begun:
                running.cancel()
            while not running.done():
                await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # looked at: the cancellation is what counts
            raise

    def abandon(self) -> None:
        """Give the thread up: it no longer counts against the pool, and nothing that it does counts at all."""
        self.stopping = True
        self._pool.abandon(self._job)
