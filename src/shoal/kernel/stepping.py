"""Knowing which invocation a thread is stepping right now, so that only that one can be interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator, Mapping
from types import TracebackType
from typing import Any

from shoal.kernel.threads import Interrupted, interrupt_thread, withdraw_interrupt

__all__ = ["Watch", "Watched", "clean_up"]


class Watch:
    """Interrupts the steps of one thread's coroutines.

    Invariant: an interrupt is requested only while a step runs, and one that has not struck by its end is withdrawn,
    so it never strikes the event loop's own code.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self._lock = threading.Lock()
        self._current: str | None = None
        self._struck = False
        self.over = False  # no coroutine takes a further step: the next one ends it

    def strike(self, key: str | None = None) -> bool:
        """Raise Interrupted in the step of *key* (None: in any); False when no such step runs."""
        with self._lock:
            if self._current is None or key not in (None, self._current):
                return False
            self._struck = interrupt_thread(self._thread)
            return self._struck

    def begin(self, key: str) -> None:
        """A step of *key* begins, in this thread."""
        with self._lock:
            self._current = key

    def end(self) -> None:
        """The step has ended."""
        with self._lock:
            self._current = None
            if self._struck:
                self._struck = False
                withdraw_interrupt(self._thread)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose steps a Watch knows of."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watch: Watch, key: str) -> None:
        self._coroutine = coroutine
        self._watch = watch
        self._key = key

    def send(self, value: Any) -> Any:
        """Take one step."""
        self._refuse()
        self._watch.begin(self._key)
        try:
            return self._coroutine.send(value)
        finally:
            self._watch.end()

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """Take one step with an error."""
        self._refuse()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        self._watch.begin(self._key)
        try:
            return self._coroutine.throw(error.with_traceback(tb) if tb is not None else error)
        finally:
            self._watch.end()

    def _refuse(self) -> None:
        if self._watch.over:
            self._coroutine.close()
            raise Interrupted

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


def clean_up(loop: asyncio.AbstractEventLoop, watch: Watch, watched: Mapping[str, asyncio.Task[Any]]) -> None:
    """Cancel what is left on the loop of an agent, in its thread, and let it end.

    When the agent is killed meanwhile, which stops the loop, what is *watched* takes no further step.
    """
    cleaning = loop.create_task(_cancel_rest())
    with contextlib.suppress(Interrupted, RuntimeError):  # killed
        loop.run_until_complete(cleaning)
        loop.run_until_complete(loop.shutdown_asyncgens())
        return
    watch.over = True
    rest = [cleaning, *watched.values()]
    for task in rest:
        task.cancel()
    with contextlib.suppress(Interrupted, RuntimeError):
        loop.run_until_complete(asyncio.wait(rest))


async def _cancel_rest() -> None:
    mine = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not mine]
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest)
