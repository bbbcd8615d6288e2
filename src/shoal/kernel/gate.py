"""Holding code between two of its steps, and letting it go on from exactly there."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any

from shoal.kernel.failure import as_ordinary
from shoal.kernel.threads import Interrupted

__all__ = ["Gate", "gated"]

_COUNTING = threading.Lock()
_ORDINARY = (Exception, asyncio.CancelledError, KeyboardInterrupt, Interrupted)
_EXITS = (*_ORDINARY, SystemExit)


class Gate:
    """A gate that coroutines pass before each step, and threads when they ask for something.

    Belongs to one event loop; ``pass_blocking`` is for other threads. Closing it again while it is closed does nothing.
    """

    __slots__ = ("_held_threads", "_opened", "_threads")

    def __init__(self) -> None:
        self._opened: asyncio.Future[None] | None = None  # set while closed; its end lets the held ones go on
        self._threads: threading.Event | None = None  # set while closed, for the same
        self._held_threads = 0

    @property
    def closed(self) -> bool:
        """Tell whether steps are held."""
        return self._opened is not None

    @property
    def held_threads(self) -> int:
        """Return how many threads wait at the gate now."""
        return self._held_threads

    def close(self) -> None:
        """Hold every coroutine at its next await and every thread at its next pass."""
        if self._opened is None:
            self._threads = threading.Event()
            self._opened = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Let all go on."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            if not opened.done():
                opened.set_result(None)
        if self._threads is not None:
            threads, self._threads = self._threads, None
            threads.set()

    def pass_blocking(self) -> None:
        """Wait, in a thread that is not the loop's, until the gate is open."""
        while (threads := self._threads) is not None:  # again: it may have been opened for a moment only
            with _COUNTING:
                self._held_threads += 1
            try:
                threads.wait()
            finally:
                with _COUNTING:
                    self._held_threads -= 1

    def opened(self) -> asyncio.Future[None]:
        """Return what ends when the closed gate opens; each waiter gets a future of its own."""
        if self._opened is None:
            raise RuntimeError("the gate is open")
        return asyncio.shield(self._opened)


@types.coroutine
def gated(
    coroutine: Coroutine[Any, Any, Any], gate: Gate | None, context: Context, *, may_exit: bool = False
) -> Generator[Any, Any, Any]:
    """Run *coroutine* in *context*, but send it on from an await only while *gate* is open.

    What the coroutine awaits may finish meanwhile; its outcome, a cancellation too, is delivered when the gate opens.
    What it raises that is no ordinary error (GeneratorExit …) comes out as one: it must not end the loop. SystemExit
    does, too, unless *may_exit*: the code has a process of its own.
    """
    run, passed_on = context.run, _EXITS if may_exit else _ORDINARY
    value: Any = None
    error: BaseException | None = None
    try:
        while True:
            while gate is not None and gate.closed:
                try:
                    yield from gate.opened().__await__()
                except asyncio.CancelledError as cancelled:
                    error = cancelled  # delivered when the gate opens, as any other outcome
            try:
                step = run(coroutine.send, value) if error is None else run(coroutine.throw, error)
            except StopIteration as done:
                return done.value
            except passed_on:
                raise
            except BaseException as odd:
                raise as_ordinary(odd) from odd
            value, error = None, None
            try:
                value = yield step
            except GeneratorExit:
                raise
            except BaseException as raised:  # noqa: BLE001  handed to the coroutine, whatever it is
                error = raised
    finally:
        run(coroutine.close)
