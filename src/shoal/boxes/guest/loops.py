"""Coroutines in a box: one event loop in the main thread, made when the first one is to run."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .handlers import Handlers, Steps
from .waits import WAKE, Station

if TYPE_CHECKING:
    import asyncio

    from .codec import Record


class Loops:
    """Runs what handlers and tasks want awaited. Made in the main thread."""

    def __init__(self, handlers: Handlers, station: Station, interleave: bool) -> None:
        self._handlers = handlers
        self._station = station
        self._interleave = interleave
        self._main = threading.get_ident()
        self._runner: asyncio.Runner | None = None
        self._awaited: set[asyncio.Task[Any]] = set()  # what the box waits for before it goes on
        self._beside: set[asyncio.Task[Any]] = set()
        self._bell: asyncio.Future[None] | None = None
        self.ring: Callable[[], object] | None = None  # the reader calls it when something came for the main thread

    @property
    def in_use(self) -> bool:
        """Whether there is a loop; then the box serves on it, so that what was started there goes on."""
        return self._runner is not None

    def blocks(self) -> bool:
        """Tell whether the calling coroutine is what the box waits for."""
        import asyncio

        return asyncio.current_task() in self._awaited

    # -- handling

    def handle(self, item: Record) -> None:
        """Handle a message or an event now, on top of whatever this thread does."""
        steps = self._handlers.steps(item)
        try:
            wanted = next(steps)
            while True:
                try:
                    value = self.complete(wanted)
                except BaseException as error:  # noqa: BLE001 - the step decides
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(value)
        except StopIteration:
            return

    def admit(self, item: Record) -> None:
        """Handle a message or an event beside what runs on this loop."""
        self._start(self._drive(self._handlers.steps(item)))

    def _start(self, coroutine: Any) -> None:
        import asyncio

        work = asyncio.get_running_loop().create_task(coroutine)
        self._beside.add(work)
        work.add_done_callback(self._beside.discard)

    async def _drive(self, steps: Steps) -> None:
        try:
            wanted = next(steps)
            while True:
                try:
                    value = await self._await_alone(wanted)
                except BaseException as error:  # noqa: BLE001 - the step decides
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(value)
        except StopIteration:
            return

    async def _await_alone(self, wanted: Awaitable[Any]) -> Any:
        """Await in an asyncio task of its own: a handler that cancels itself cancels nobody else."""
        import asyncio

        return await asyncio.get_running_loop().create_task(self._watched(wanted))

    async def _watched(self, wanted: Awaitable[Any]) -> Any:
        import asyncio

        here = asyncio.current_task()
        assert here is not None
        if threading.get_ident() == self._main:
            self._awaited.add(here)
        try:
            return await wanted
        finally:
            self._awaited.discard(here)

    # -- from code that is no coroutine

    def complete(self, wanted: Awaitable[Any]) -> Any:
        """Return what *wanted* comes to, on the loop that is free to run it."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if threading.get_ident() != self._main:
                return asyncio.run(self._watched(wanted))
            return self._loop().run_until_complete(self._with_others(wanted))
        return self._in_thread(wanted)

    def _loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.get_loop()

    async def _with_others(self, wanted: Awaitable[Any]) -> Any:
        """Await; with interleave other messages are handled meanwhile."""
        if not self._interleave:
            return await self._watched(wanted)
        import asyncio

        serving = asyncio.get_running_loop().create_task(self._serve(lambda: False))
        try:
            return await self._watched(wanted)
        finally:
            serving.cancel()

    def _in_thread(self, wanted: Awaitable[Any]) -> Any:
        """A coroutine's synchronous call waits on this thread's loop: what comes on top has a loop of its own."""
        import asyncio
        import contextvars

        box: list[Any] = []

        def run() -> None:
            try:
                box.append((asyncio.run(self._watched(wanted)), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                box.append((None, error))

        worker = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
        worker.start()
        worker.join()
        value, error = box[0]
        if error is not None:
            raise error
        return value

    # -- serving

    def serve(self, ended: Callable[[], bool]) -> None:
        """Handle what comes, on the loop, until *ended* or told to stop."""
        self._loop().run_until_complete(self._serve(ended))

    async def _serve(self, ended: Callable[[], bool]) -> None:
        import asyncio

        here = asyncio.current_task()
        assert here is not None
        while not ended() and not here.cancelling():
            item = await self._next()
            if item["type"] == "stop":
                self._station.deferred.appendleft(item)
                return
            if item is WAKE:
                continue
            if self._interleave:
                self.admit(item)
            else:
                await self._drive(self._handlers.steps(item))

    async def _next(self) -> Record:
        import asyncio

        station = self._station
        loop = asyncio.get_running_loop()
        self.ring = lambda: loop.call_soon_threadsafe(self._rung)
        while True:
            if station.deferred:
                return station.deferred.popleft()
            if not station.inbox.empty():
                return station.inbox.get_nowait()
            self._bell = loop.create_future()
            try:
                await self._bell
            finally:
                self._bell = None

    def _rung(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def close(self) -> None:
        """End what still runs on the loop."""
        self.ring = None
        if self._runner is not None:
            self._runner.close()
