"""An asyncio event loop on which nothing waits: when there is nothing to do, its time jumps to the next timer.

The idea is that of trio's MockClock with ``autojump_threshold=0``. Work outside the loop (``run_in_executor``,
``to_thread``, anything inside ``with loop.outside()``) makes it wait really, and only as long as that work goes on.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

from shoal.testing.faults import SimulatedCrash

__all__ = ["StuckError", "VirtualLoop", "where"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
LAST_LOOK_SECONDS = 0.2  # real; for a thread that nobody told the loop about


class StuckError(RuntimeError):
    """The program can never end: nothing is ready, no timer is set and nothing runs outside, or its time is over."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, beginning at 0.

    Args:
        shuffle: permutes the order in which different asyncio tasks that are ready in one turn are run, which asyncio
            happens to keep but nobody should need. Callbacks that are not steps of asyncio tasks stay where they are.
        limit_seconds: virtual seconds after which StuckError is raised; a heartbeat alone would go on for ever.
    """

    def __init__(self, *, shuffle: random.Random | None = None, limit_seconds: float = 86_400.0) -> None:
        self._virtual = 0.0
        self._outside = 0
        self._waited = 0.0  # real seconds waited for outside work since time last moved
        self._lock = threading.Lock()
        self._shuffle = shuffle
        self._limit = limit_seconds
        self._crash: SimulatedCrash | None = None
        self._ready: Any
        self._scheduled: Any
        super().__init__(_JumpingSelector(self._next_events))

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._virtual

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Say that work goes on outside the loop, in any thread: meanwhile time passes no quicker than real time."""
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run *func* in a thread; until it ends the loop waits really."""
        future = super().run_in_executor(executor, func, *args)
        self._count(+1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """End the threads of the default executor."""
        with self.outside():
            await super().shutdown_default_executor(*args)

    def crash(self, error: SimulatedCrash) -> None:
        """End the program here, as a crash would: ``run_until_complete`` raises *error* in its next turn."""
        self._crash = error

    def _count(self, change: int) -> None:
        with self._lock:
            self._outside += change

    def _run_once(self) -> None:
        if self._crash is not None:
            error, self._crash = self._crash, None
            raise error
        if self._shuffle is not None:
            self._permute(self._shuffle)
        super()._run_once()  # type: ignore[misc]

    def _permute(self, chance: random.Random) -> None:
        """Permute neighbours that are steps of asyncio tasks; an asyncio task has at most one step ready."""
        handles = list(self._ready)
        start = 0
        while start < len(handles):
            end = start
            while end < len(handles) and isinstance(_owner(handles[end]), asyncio.Task):
                end += 1
            if end - start > 1:
                run = handles[start:end]
                chance.shuffle(run)
                handles[start:end] = run
            start = end + 1
        self._ready.clear()
        self._ready.extend(handles)

    def _next_events(self, select: Callable[[float | None], Any], timeout: float | None) -> Any:
        """Return what I/O is ready; when nothing at all is, move time or wait."""
        events = select(0)
        if events or timeout == 0:
            return events
        if self._outside:
            return self._wait_really(select, timeout)
        if timeout is None:
            events = select(LAST_LOOK_SECONDS)
            if not events:
                raise StuckError(f"nothing can happen any more at {self._virtual:g} s\n{self._report()}")
            return events
        self._jump()
        return events

    def _wait_really(self, select: Callable[[float | None], Any], timeout: float | None) -> Any:
        begun = time.monotonic()
        left = LAST_LOOK_SECONDS if timeout is None else max(0.0, timeout - self._waited)
        events = select(min(left, LAST_LOOK_SECONDS))
        self._waited += time.monotonic() - begun
        if timeout is not None and self._waited >= timeout:
            self._jump()
        return events

    def _jump(self) -> None:
        self._waited = 0.0
        self._virtual = max(self._virtual, self._scheduled[0]._when)
        if self._virtual > self._limit:
            raise StuckError(f"not done after {self._limit:g} virtual seconds\n{self._report()}")

    def _report(self) -> str:
        lines = sorted(f"  {task.get_name()}: {where(task)}" for task in asyncio.all_tasks(self))
        return "asyncio tasks that wait:\n" + ("\n".join(lines) or "  (none)")


def where(task: asyncio.Task[Any]) -> str:
    """Return the place at which *task* waits: the chain of its coroutines, innermost last."""
    chain = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            name = getattr(awaited, "__qualname__", frame.f_code.co_name)
            chain.append(f"{name} ({frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return " > ".join(chain) or repr(task)


def _owner(handle: Any) -> object:
    return getattr(handle._callback, "__self__", None)


class _JumpingSelector(selectors.DefaultSelector):
    """The usual selector, except that how long to wait is the loop's decision."""

    def __init__(self, decide: Callable[[Callable[[float | None], Any], float | None], Any]) -> None:
        super().__init__()
        self._decide = decide

    def select(self, timeout: float | None = None) -> Any:
        return self._decide(super().select, timeout)
