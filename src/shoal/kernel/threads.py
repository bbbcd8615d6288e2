"""Daemon threads for synchronous code, which can be interrupted and, when stuck in C, abandoned."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from shoal.kernel.failure import as_ordinary

__all__ = ["DaemonPool", "Interrupted", "interrupt_thread", "lent_thread", "withdraw_interrupt"]

T = TypeVar("T")


class Interrupted(BaseException):
    """Raised from outside in a thread whose work is no longer wanted."""


def interrupt_thread(thread: threading.Thread) -> bool:
    """Raise Interrupted in *thread* at its next bytecode; False when it has ended. Code stuck in C does not notice."""
    ident = thread.ident
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return ident is not None and raise_in(ctypes.c_ulong(ident), ctypes.py_object(Interrupted)) == 1


def withdraw_interrupt(thread: threading.Thread) -> None:
    """Take back an interrupt that has not struck yet."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), None)


class _Worker(threading.Thread):
    def __init__(self, pool: DaemonPool, number: int) -> None:
        super().__init__(name=f"shoal-sync-{number}", daemon=True)
        self.pool = pool
        self.job: Job | None = None
        self.future: Future[Any] | None = None

    def run(self) -> None:
        while True:
            with contextlib.suppress(Interrupted):  # one that came when its job had just ended
                if not self.pool.work(self):
                    return


Job = Callable[[], Any]


@contextlib.contextmanager
def lent_thread() -> Iterator[None]:
    """Let another job have this thread's place in its pool while it waits for what may need a thread itself.

    As ``ManagedBlocker`` of Java's ForkJoinPool. In a thread of no pool it does nothing.
    """
    worker = threading.current_thread()
    pool = worker.pool if isinstance(worker, _Worker) else None
    if pool is None:
        yield
        return
    pool.lend(1)
    try:
        yield
    finally:
        pool.lend(-1)


class DaemonPool(Executor):
    """At most *limit* threads, made when needed. They are daemons: one stuck in C never holds up the end of the program.

    A job is known by its callable. One that was abandoned no longer counts against the limit.
    """

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._made = 0
        self._workers: set[_Worker] = set()
        self._idle = 0
        self._jobs: deque[tuple[Future[Any], Job]] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run *fn* in a thread of the pool. Raises RuntimeError after ``shutdown``."""
        future: Future[T] = Future()
        job = functools.partial(fn, *args, **kwargs) if args or kwargs else fn
        with self._changed:
            if self._closed:
                raise RuntimeError("the thread pool is closed")
            self._jobs.append((future, job))
            if self._idle >= len(self._jobs) or len(self._workers) >= self._limit:
                self._changed.notify()
            else:
                self._hire()
        return future

    def _hire(self) -> None:
        self._made += 1
        worker = _Worker(self, self._made)
        self._workers.add(worker)
        worker.start()

    def lend(self, places: int) -> None:
        """Change how many threads there may be: one of them waits, or waits no more."""
        with self._changed:
            self._limit += places
            if self._idle < len(self._jobs) and len(self._workers) < self._limit:
                self._hire()

    def interrupt(self, job: Job) -> bool:
        """Raise Interrupted in the thread that runs *job*; False when none does."""
        with self._changed:
            worker = self._worker_of(job)
            return worker is not None and interrupt_thread(worker)

    def abandon(self, job: Job) -> None:
        """Give up the thread that runs *job*, if one still does; whoever waits for it gets Interrupted."""
        with self._changed:
            worker = self._worker_of(job)
            if worker is None:
                return
            self._workers.discard(worker)
            future, worker.job, worker.future = worker.future, None, None
        if future is not None:
            future.set_exception(Interrupted())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; idle threads end. Running jobs are not waited for: they are daemons."""
        with self._changed:
            self._closed = True
            if cancel_futures:
                while self._jobs:
                    self._jobs.popleft()[0].cancel()
            self._changed.notify_all()

    def work(self, worker: _Worker) -> bool:
        """Carry out one job in *worker*'s thread; False when it should end."""
        job = self._next_job(worker)
        if job is None:
            return False
        result: Any = None
        error: BaseException | None = None
        try:
            result = job()
        except StopIteration as raised:  # no future may hold one (PEP 479 says the same of generators)
            error = RuntimeError("the code raised StopIteration")
            error.__cause__ = raised
        except (Exception, Interrupted) as raised:  # noqa: BLE001  handed to whoever waits for the job
            error = raised
        except BaseException as raised:  # noqa: BLE001  the same, but it must not end a loop
            error = as_ordinary(raised)
            error.__cause__ = raised
        with self._changed:
            future, worker.job, worker.future = worker.future, None, None
        if future is None:  # abandoned meanwhile
            return False
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
        return True

    def _next_job(self, worker: _Worker) -> Job | None:
        with self._changed:
            while worker in self._workers:
                while self._jobs:
                    future, job = self._jobs.popleft()
                    if future.set_running_or_notify_cancel():
                        worker.job, worker.future = job, future
                        return job
                if self._closed:
                    self._workers.discard(worker)
                    break
                self._idle += 1
                try:
                    self._changed.wait()
                finally:
                    self._idle -= 1
        return None

    def _worker_of(self, job: Job) -> _Worker | None:
        return next((worker for worker in self._workers if worker.job is job), None)
