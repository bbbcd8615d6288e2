"""Knowing which invocation a thread is stepping right now, so that only that one can be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from shoal.kernel.threads import interrupt_thread, withdraw_interrupt

__all__ = ["Watch", "Watched"]


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
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        self._watch.begin(self._key)
        try:
            return self._coroutine.throw(error.with_traceback(tb) if tb is not None else error)
        finally:
            self._watch.end()

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()
