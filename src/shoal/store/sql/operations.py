"""What waits to be written, and answering those who wait for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from shoal.kernel.ports import Bell
from shoal.kernel.trace import current_span

__all__ = ["Operation", "Operations", "Outcome"]

T = TypeVar("T")

_GROUP = 1000  # the most operations in one transaction, so that the first need not wait for ever


class Operation(Generic[T]):
    """Something to write, and who waits for it: a coroutine on ``loop``, or a thread. ``span``: around whoever asked;
    ``bell``: may ring with its commit."""

    __slots__ = ("args", "bell", "fn", "future", "loop", "span")

    def __init__(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        future: asyncio.Future[T] | concurrent.futures.Future[T],
        loop: asyncio.AbstractEventLoop | None,
        bell: Bell | None = None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.future = future
        self.loop = loop
        self.bell = bell
        self.span = current_span.get()


Outcome = tuple[Operation[Any], BaseException | None, Any]


class Operations:
    """Operations in the order in which they came, taken in groups; and the callbacks that hear of commits."""

    def __init__(self, inline: bool) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None  # of the callbacks
        self._inline = inline
        self._queue: queue.SimpleQueue[Operation[Any] | None] = queue.SimpleQueue()
        self._next: list[Operation[Any] | None] = []  # none, or the one that comes before those in the queue
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._added = 0
        self._answered = 0

    def put(self, operation: Operation[Any] | None) -> None:
        """Add one; None is the end."""
        if operation is not None:
            self._added += 1
        self._queue.put(operation)

    def busy(self) -> bool:
        """Tell whether some have been added that are not answered yet. With one thread at a time that adds."""
        return self._added != self._answered

    def waiting(self) -> bool:
        """Tell whether something waits to be written."""
        return bool(self._next) or not self._queue.empty()

    def drop(self) -> None:
        """Forget all that waits, and end."""
        self._next.clear()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)

    def group(self) -> tuple[list[Operation[Any]], bool]:
        """Wait for the next operation; return it with those behind it, and False when the end was among them."""
        group: list[Operation[Any]] = []
        operation = self._next.pop() if self._next else self._queue.get()
        while operation is not None:
            group.append(operation)
            if len(group) == _GROUP:
                return group, True
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def join(self, group: list[Operation[Any]], fits: Callable[[Operation[Any]], bool]) -> list[Operation[Any]]:
        """Add to a group those that have come meanwhile, up to the first that does not fit; return them."""
        late: list[Operation[Any]] = []
        while not self._next and len(group) + len(late) < _GROUP:
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                break
            if operation is None or not fits(operation):
                self._next.append(operation)
            else:
                late.append(operation)
        group += late
        return late

    def answer(self, outcomes: list[Outcome], announce: bool) -> None:
        """Give everyone who waits what became of his operation, and with *announce* call the callbacks."""
        self._answered += len(outcomes)
        by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
        for outcome in outcomes:
            operation, error, value = outcome
            if operation.loop is not None:
                by_loop.setdefault(operation.loop, []).append(outcome)
            elif error is not None:
                operation.future.set_exception(error)
            else:
                operation.future.set_result(value)
        if announce and self.loop is not None:
            by_loop.setdefault(self.loop, [])
        for loop, answers in by_loop.items():
            heard = announce and loop is self.loop
            if self._inline:
                self.deliver(answers, heard)
            else:
                with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(self.deliver, answers, heard)

    def deliver(self, answers: list[Outcome], announce: bool) -> None:
        """Do what ``answer`` does, on the loop to which all of them belong."""
        for operation, error, value in answers:
            future = operation.future
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        if announce:
            for callback in tuple(self._callbacks.values()):
                callback()

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events or announced themselves; returns an undo."""
        key = object()
        self._callbacks[key] = callback
        return lambda: self._callbacks.pop(key, None) and None
