"""Who carries out the work of a pool: threads of its own, or processes of the runtime around it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from shoal.errors import DeadAgentError, RuntimeStateError
from shoal.kernel.ambient import Ambient
from shoal.kernel.failure import RemoteError
from shoal.kernel.threads import DaemonPool
from shoal.kernel.trace import current_span
from shoal.services.packing import pack_call
from shoal.services.poolchild import LENGTH, TAKEN, Answer, Serve, call_now
from shoal.services.requests import error_of

__all__ = ["Kind", "ProcessWorker", "ThreadWorker", "Work", "Worker", "WorkerPlace"]

Kind = Literal["thread", "process"]

UNLIMITED_SECONDS = 365 * 86_400.0
"""A child lives as long as its pool wants it."""

log = logging.getLogger("shoal.services")
_decode = msgspec.json.Decoder(Answer).decode


class Work(msgspec.Struct, frozen=True):
    """A call that somebody wants: ``fn(*args)``. ``context`` has the caller's context variables."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    context: Any


class Worker(Protocol):
    """Carries out one piece of work after the other."""

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin, and return what comes of it."""
        ...

    def give_up(self, running: asyncio.Future[Any]) -> None:
        """Nobody waits for this work any more. End it, if that is possible; ``running`` tells when it has ended."""
        ...

    def leave(self, running: asyncio.Future[Any]) -> None:
        """End this work, or leave it behind: ``running`` ends soon in any case."""
        ...

    def end(self) -> asyncio.Future[Any] | None:
        """There will be no more work. Returns what tells when the worker is gone, if there is something to wait for."""
        ...


class ThreadWorker:
    """One daemon thread. What runs in it cannot be ended from outside."""

    def __init__(self) -> None:
        self._thread = DaemonPool(1)

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin in the thread, with the caller's context variables."""
        call = functools.partial(work.context.run, call_now, work.fn, *work.args)
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
    """One child process of the runtime, started for its first work; one that died or was killed is replaced for the next.

    The runtime starts it as it starts any call in a process of its own (the verb ``run_tool``), and the call is to serve
    this worker over a socket in a folder that is the user's alone. Work travels there by cloudpickle, answers are JSON.
    """

    def __init__(self, name: str, ambient: Ambient | None) -> None:
        if ambient is None:
            raise RuntimeStateError(
                f"pool {name!r} needs a runtime that starts its processes, and there is none around it",
                note="Make the pool in an agent of a runtime, or use kind='thread'.",
            )
        self._name = name
        self._ambient = ambient
        self._child: asyncio.Task[Any] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def begin(self, work: Work) -> asyncio.Future[Any]:
        """Begin in the child."""
        return asyncio.get_running_loop().create_task(self._carry_out(work), name=f"work of pool {self._name}")

    def give_up(self, running: asyncio.Future[Any]) -> None:
        """Kill the child."""
        running.cancel()

    def leave(self, running: asyncio.Future[Any]) -> None:
        """Kill the child."""
        running.cancel()

    def end(self) -> asyncio.Future[Any] | None:
        """End the connection, and with it the child."""
        child, self._child = self._child, None
        self._hang_up()
        return child

    async def _carry_out(self, work: Work) -> Any:
        packed = pack_call(work.fn, work.args, work.context.get(current_span))
        try:
            answer = await self._ask(packed)
        except asyncio.CancelledError:
            await self._kill()
            raise
        except (OSError, EOFError) as error:
            raise await self._death(error) from None
        if answer.refused is not None:
            raise error_of(answer.refused)
        if answer.failure is not None:
            told = answer.failure
            raise RemoteError(told.error_type, told.message, bases=told.bases, traceback_text=told.traceback)
        return answer.value

    async def _ask(self, packed: bytes) -> Answer:
        reader = await self._hand_over(packed)
        if reader is None:  # the child died while it was idle, and nothing has begun
            await self._death(EOFError())
            reader = await self._hand_over(packed)
        if reader is None:
            raise EOFError
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        return _decode(await reader.readexactly(length))

    async def _hand_over(self, packed: bytes) -> asyncio.StreamReader | None:
        """Give work to the child, a new one if need be; None when it has surely not begun with it."""
        if self._streams is None or self._child is None or self._child.done():
            self._streams = await self._start()
        reader, writer = self._streams
        try:
            writer.write(LENGTH.pack(len(packed)) + packed)
            await writer.drain()
            return reader if await reader.readexactly(len(TAKEN)) == TAKEN else None
        except (OSError, EOFError):
            return None

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start a child and wait until it has called. Raises EOFError when it ends before."""
        self._hang_up()
        loop = asyncio.get_running_loop()
        called: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if called.done():
                writer.close()
            else:
                called.set_result((reader, writer))

        folder = tempfile.mkdtemp(prefix="shoal-pool-")
        try:
            path = os.path.join(folder, "work")
            server = await asyncio.start_unix_server(accept, path)
            try:
                # It outlives the request for which it is started, so it has nothing of that one's context.
                self._child = loop.create_task(
                    self._live(path), name=f"process of pool {self._name}", context=contextvars.Context()
                )
                self._child.add_done_callback(self._noted)
                await asyncio.wait([self._child, called], return_when=asyncio.FIRST_COMPLETED)
            finally:
                server.close()
        finally:
            shutil.rmtree(folder)
        if not called.done():
            raise EOFError
        return called.result()

    async def _live(self, path: str) -> None:
        order = {"isolation": "process", "program": Serve(path), "name": self._name, "timeout": UNLIMITED_SECONDS}
        await self._ambient.call("run_tool", order)

    def _noted(self, child: asyncio.Task[Any]) -> None:
        if not child.cancelled() and (error := child.exception()) is not None:
            log.info("a process of pool %s ended: %s", self._name, error)

    async def _kill(self) -> None:
        self._hang_up()
        child, self._child = self._child, None
        if child is not None:
            child.cancel()
            await asyncio.wait([child])

    async def _death(self, found: Exception) -> BaseException:
        """Return why there is no answer: the child has ended, or never came to life, or could not even be started."""
        self._hang_up()
        child, self._child = self._child, None
        if child is None:
            return found
        await asyncio.wait([child])
        error = None if child.cancelled() else child.exception()
        return error or DeadAgentError(f"A process of pool {self._name!r} ended", reason="died")

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class WorkerPlace(msgspec.Struct):
    """How workers of one kind are made. ``ambient`` is the runtime around the pool."""

    kind: Kind
    name: str
    ambient: Any

    def worker(self) -> Worker:
        """Return a new worker. Raises RuntimeStateError: there is no runtime to start its process."""
        return ThreadWorker() if self.kind == "thread" else ProcessWorker(self.name, self.ambient)
