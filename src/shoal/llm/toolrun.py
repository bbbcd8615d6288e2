"""One run of a tool's code, in bounded time: what it gave, or what was wrong, as text for the model."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from shoal.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    LeaseLostError,
    RunChangedError,
    StoreError,
    ToolTimeoutError,
    UnpricedModelError,
)
from shoal.kernel.ambient import Ambient
from shoal.kernel.bounded import bounded
from shoal.kernel.ports import Clock
from shoal.kernel.scope import Stopped
from shoal.kernel.threads import DaemonPool
from shoal.llm.isolated import Program, ThreadRun, in_a_process, is_async
from shoal.llm.signatures import Call
from shoal.llm.toolcontext import ToolContext
from shoal.llm.tools import Tool
from shoal.llm.toolvalues import Outcome, failed, presented

__all__ = ["CONTROL", "ToolRun", "late"]

log = logging.getLogger("shoal")

CONTROL = (
    *(Stopped, RunChangedError, LeaseLostError, StoreError),
    *(BudgetExceededError, UnpricedModelError, ApprovalRequiredError),
)
"""What ends the run that the tool is part of, raised by agents that the tool calls: it is no fault of the tool's."""


def late(name: str, seconds: float) -> ToolTimeoutError:
    """Return the error of a tool whose time was up."""
    return ToolTimeoutError(f"tool {name!r} did not end within {seconds:g} s", tool=name)


class ToolRun:
    """Runs one call's code.

    Args:
        tool: which.
        call: its arguments.
        context: what it may know of the call.
        pool: the threads for synchronous code.
        clock: time.
    """

    def __init__(self, tool: Tool, call: Call, context: ToolContext, pool: DaemonPool, clock: Clock) -> None:
        self._tool = tool
        self._call = call
        self._context = context
        self._pool = pool
        self._clock = clock
        self._thread: ThreadRun | None = None
        self._at_work = False
        self.warning = ""  # what a reader of the run should know

    async def outcome(self, ambient: Ambient | None) -> Outcome:
        """Run it; *ambient* is the runtime that starts a process for it, None: it runs in this one.

        Raises only what ends the whole run (``CONTROL``), and CancelledError.
        """
        tool = self._tool
        try:
            if ambient is not None:
                program = Program(tool.label, tool.target, self._filled(self._context))
                return await in_a_process(ambient, tool.isolation, program, tool.timeout)
            return await self._in_time()
        except CONTROL:
            raise
        except Exception as error:  # noqa: BLE001  the tool's, or its process's: the model is told
            return failed(error)

    def _filled(self, context: ToolContext) -> Call:
        if not self._tool.signature.takes_context:
            return self._call
        return Call((context, *self._call.args), self._call.kwargs)

    async def _in_time(self) -> Outcome:
        tool = self._tool
        name = f"tool {tool.label}"
        try:
            return await bounded(self._guarded(), tool.timeout, self._clock, name=name)
        except TimeoutError:
            raise late(tool.label, tool.timeout) from None
        finally:
            if self._at_work:
                self._given_up()

    def _given_up(self) -> None:
        """It was cancelled and did not end in time."""
        if self._thread is not None:
            self._thread.abandon()
        what = "its thread" if self._thread is not None else "its coroutine"
        self.warning = f"tool {self._tool.label!r} went on after its time was up: {what} was abandoned"
        log.warning(self.warning)

    async def _guarded(self) -> Outcome:
        """Run the code; what it raises is its outcome, its own TimeoutError and SystemExit included."""
        self._at_work = True
        try:
            return presented(await self._code(), self._tool.label)
        except (KeyboardInterrupt, *CONTROL):
            raise
        except asyncio.CancelledError as error:
            mine = asyncio.current_task()
            if mine is not None and mine.cancelling():
                raise
            return failed(error)
        except BaseException as error:  # noqa: BLE001  the tool's own code: the model is told
            return failed(error)
        finally:
            self._at_work = False

    async def _code(self) -> Any:
        fn: Callable[..., Any] = self._tool.target
        if is_async(fn) and self._tool.isolation == "inline":
            call = self._filled(self._context)
            return await fn(*call.args, **call.kwargs)
        call = self._filled(
            ToolContext(
                key=self._context.key,
                run_id=self._context.run_id,
                agent_name=self._context.agent_name,
                user_id=self._context.user_id,
                call_id=self._context.call_id,
                flag=self._stopping,
            )
        )
        job = functools.partial(fn, *call.args, **call.kwargs)
        self._thread = ThreadRun(self._pool, functools.partial(_on_a_loop, job) if is_async(fn) else job)
        value = await self._thread.result()
        return await value if inspect.isawaitable(value) else value

    def _stopping(self) -> bool:
        return self._thread is not None and self._thread.stopping


def _on_a_loop(job: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in a thread, on an event loop of its own."""

    async def main() -> Any:
        return await job()

    return asyncio.run(main())
