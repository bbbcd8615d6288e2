"""Room for work that would hold up an event loop: so many threads or processes, so much work that waits, no more."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from shoal.errors import PoolFullError, RequestError, RequestTimeout, RuntimeStateError
from shoal.kernel.ambient import current_ambient
from shoal.kernel.ports import Clock, Timer
from shoal.kernel.starting import present_clock
from shoal.services import codes
from shoal.services.poolworkers import Kind, Work, Worker, WorkerPlace

__all__ = ["Pool", "PoolStats"]

T = TypeVar("T")
log = logging.getLogger("shoal.services")

KINDS = ("thread", "process")


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at one moment.

    Attributes:
        size: threads or processes there are.
        busy: how many of them work, the stuck ones included.
        waiting: pieces of work that wait for one.
        refused: pieces of work that were refused since the pool was made.
        stuck: threads at work that nobody waits for any more, their time being over.
    """

    size: int
    busy: int
    waiting: int
    refused: int
    stuck: int


class _Job:
    """A piece of work from the moment that it was taken. ``answer`` is what the caller waits for."""

    __slots__ = ("answer", "running", "work", "worker")

    def __init__(self, work: Work, answer: asyncio.Future[Any]) -> None:
        self.work = work
        self.answer = answer
        self.worker: Worker | None = None
        self.running: asyncio.Future[Any] | None = None


class Pool:
    """Runs functions in threads of its own, or in processes of the runtime in whose context it is made, or else used first.

    A thread or process is made when work finds none free. One that has had nothing to do for *idle* seconds ends, as long as
    *min_size* are left. Functions for processes travel by cloudpickle, and what they return must be a JSON value. A pool
    belongs to the event loop that uses it first. Close it when its agent stops: its processes live until then.

    Args:
        name: for error texts and logs.
        kind: ``thread`` or ``process``.
        min_size: threads or processes that stay, 0 or more.
        max_size: threads or processes at most.
        max_queue: pieces of work that may wait, 0 or more.
        idle: seconds.

    Attributes:
        name, kind: as they were given.

    Raises:
        ValueError: an unknown kind, or a number that cannot be.
    """

    def __init__(
        self, name: str, *, kind: Kind = "thread", min_size: int, max_size: int, max_queue: int, idle: float = 60.0
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r:.80}")
        _check(min_size=(min_size, 0), max_size=(max_size, max(1, min_size)), max_queue=(max_queue, 0))
        if not idle > 0:
            raise ValueError(f"idle must be positive, not {idle!r}")
        self.name = name
        self.kind = kind
        self._min, self._max, self._queue = min_size, max_size, max_queue
        self._idle_seconds = idle
        self._place = WorkerPlace(kind, name, current_ambient.get())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: deque[tuple[Worker, float]] = deque()  # since when; who came last works next
        self._busy: dict[_Job, None] = {}
        self._waiting: dict[_Job, None] = {}
        self._leaving: set[asyncio.Future[Any]] = set()  # workers that end
        self._refused = 0
        self._timer: Timer | None = None
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many pieces of work may run and wait."""
        return self._max + self._queue

    def stats(self) -> PoolStats:
        """Return the present numbers."""
        return PoolStats(
            size=len(self._idle) + len(self._busy),
            busy=len(self._busy),
            waiting=len(self._waiting),
            refused=self._refused,
            stuck=sum(job.answer.done() for job in self._busy),
        )

    async def run(self, fn: Callable[..., T], *args: Any, timeout: float = 30.0) -> T:
        """Return ``fn(*args)``.

        Args:
            fn: a function; with kind ``process`` what it returns is a JSON value.
            args: its arguments.
            timeout: seconds from now, waiting included. Work that waits is withdrawn then; a thread at work counts as stuck
                until it ends, a process is killed.

        Raises:
            ValueError: the timeout is not positive.
            PoolFullError: as many as may run and wait.
            RequestTimeout: its time was over.
            RequestError: CANCELLED, the pool was closed meanwhile.
            RuntimeStateError: the pool is closed, or has no runtime to start processes.
            ConfigError: the work cannot travel to a process.
            What *fn* raises; in a process a RemoteError stands for it, DeadAgentError for an end of the process.
        """
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        answer: asyncio.Future[T] = self.submit(fn, *args)
        limit = self._clock().timeout(timeout)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if limit.expired():
                raise RequestTimeout(f"the work did not end within {timeout:g} s in pool {self.name!r}") from None
            raise

    def submit(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Take ``fn(*args)`` and return what comes of it; cancelling that gives the work up. Raises as ``run`` does."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeStateError(f"pool {self.name!r} is closed")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise RuntimeStateError(f"pool {self.name!r} belongs to another event loop")
            self._loop = loop
        if self._place.ambient is None:
            self._place.ambient = current_ambient.get()
        job = _Job(Work(fn, args, contextvars.copy_context()), loop.create_future())
        if self._idle:
            self._begin(job, self._idle.pop()[0])
        elif len(self._busy) < self._max:
            self._begin(job, self._place.worker())
        elif len(self._waiting) < self._queue:
            self._waiting[job] = None
        else:
            self._refused += 1
            raise PoolFullError(self.name, self.capacity)
        job.answer.add_done_callback(lambda _: self._answered(job))
        return job.answer

    async def close(self, grace: float = 10.0) -> None:
        """Take no more work, and wait *grace* seconds for what was taken.

        After that what still waits is given up (CANCELLED), threads at work are left behind as daemons, processes killed.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._dismiss(self._idle.pop()[0])
        try:
            async with self._clock().timeout(grace):
                await self._emptied()
        except TimeoutError:
            log.warning("pool %s closes with %d at work and %d waiting", self.name, len(self._busy), len(self._waiting))
        for job in [*self._waiting, *self._busy]:
            if not job.answer.done():
                job.answer.set_exception(RequestError(codes.CANCELLED, f"pool {self.name!r} was closed"))
        self._waiting.clear()
        for job in list(self._busy):
            assert job.worker is not None and job.running is not None
            job.worker.leave(job.running)
        await self._emptied()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _dismiss(self, worker: Worker) -> None:
        """Let a worker go that has no work any more."""
        gone = worker.end()
        if gone is not None:
            self._leaving.add(gone)
            gone.add_done_callback(self._left)

    def _left(self, gone: asyncio.Future[Any]) -> None:
        self._leaving.discard(gone)
        if not gone.cancelled() and (error := gone.exception()) is not None:
            log.warning("pool %s: a process that was to end did so with an error: %s", self.name, error)

    async def _emptied(self) -> None:
        while running := [job.running for job in self._busy if job.running is not None]:
            await asyncio.wait(running)

    def _clock(self) -> Clock:
        ambient = self._place.ambient
        return present_clock() if ambient is None else ambient.clock

    def _begin(self, job: _Job, worker: Worker) -> None:
        self._busy[job] = None
        job.worker = worker
        job.running = worker.begin(job.work)
        job.running.add_done_callback(lambda running: self._ended(job, worker, running))

    def _ended(self, job: _Job, worker: Worker, running: asyncio.Future[Any]) -> None:
        """A worker is free again; the caller hears what came of its work."""
        del self._busy[job]
        if running.cancelled():
            job.answer.cancel()
        elif job.answer.done():
            if (error := running.exception()) is not None:
                log.warning("pool %s: work that nobody waited for any more failed: %s", self.name, error)
        elif (error := running.exception()) is not None:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(running.result())
        while self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            if not following.answer.done():
                self._begin(following, worker)
                return
        if self._closed:
            self._dismiss(worker)
        else:
            self._idle.append((worker, self._clock().monotonic()))
            self._watch_idle()

    def _answered(self, job: _Job) -> None:
        """The caller has its answer, or waits no longer: then the work is withdrawn or given up."""
        if not job.answer.cancelled():
            return
        if job in self._waiting:
            del self._waiting[job]
        elif job in self._busy:
            assert job.worker is not None and job.running is not None
            job.worker.give_up(job.running)

    def _watch_idle(self) -> None:
        if self._timer is None and len(self._idle) + len(self._busy) > self._min:
            left = self._idle[0][1] + self._idle_seconds - self._clock().monotonic()
            self._timer = self._clock().call_later(max(left, 0.0), self._shrink)

    def _shrink(self) -> None:
        """End whoever has been idle long enough, but for the fewest that stay."""
        self._timer = None
        until = self._clock().monotonic() - self._idle_seconds
        while self._idle and self._idle[0][1] <= until and len(self._idle) + len(self._busy) > self._min:
            self._dismiss(self._idle.popleft()[0])
        if self._idle:
            self._watch_idle()


def _check(**numbers: tuple[int, int]) -> None:
    for name, (value, least) in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r:.80}")
