"""One writer at a time among the processes that have a store open."""

from __future__ import annotations

import fcntl
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.errors import StoreError
from shoal.kernel.clock import RealClock

__all__ = ["WriteLock"]

LIMIT_SECONDS = 10.0
"""How long a write waits for other processes. SQLite's own limit here is the same."""
LEAST_SECONDS = 0.5
"""The same of one that comes when all together have no more time."""


class WriteLock:
    """A lock by a file beside the store. Who waits is woken; SQLite's own waiting sleeps, and starves some.

    ``flock`` has no time limit, so that a thread does the waiting: it exists from the first time that another process
    has the lock. A wait that was given up lets go of the lock as soon as it gets it.
    """

    def __init__(self, store: Path, url: str, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._store = store
        self._path = f"{store}-lock"
        self._url = url
        self._limit = limit_seconds
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._guard = threading.Lock()
        self._wanted = False  # somebody waits for the thread
        self._asked = threading.Semaphore(0)
        self._granted = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._under_way = False  # the thread is in flock
        self._closed = threading.Event()
        self._now = RealClock().monotonic
        self._ends = math.inf

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Raises StoreError, with who has it, when it does not become free in time."""
        if not self._take_free():
            self._wait()
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def hurry(self, seconds: float) -> None:
        """Let all that wait, together, wait for *seconds* from now. From any thread."""
        self._ends = self._now() + seconds

    def _take_free(self) -> bool:
        with self._guard:
            if self._under_way:
                return False
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def _wait(self) -> None:
        with self._guard:
            self._wanted = True
            if not self._under_way:
                self._under_way = True
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="shoal-store-lock", daemon=True)
                    self._thread.start()
                self._asked.release()
        begun = self._now()
        while self._now() < min(begun + self._limit, max(begun + LEAST_SECONDS, self._ends)):
            if self._granted.acquire(timeout=min(LEAST_SECONDS, self._limit)):
                return
        with self._guard:
            if self._granted.acquire(blocking=False):
                return
            self._wanted = False
        raise self._held_up(self._now() - begun)

    def _serve(self) -> None:
        fd = self._fd
        while True:
            self._asked.acquire()
            if self._closed.is_set():
                return
            fcntl.flock(fd, fcntl.LOCK_EX)
            with self._guard:
                self._under_way = False
                if self._closed.is_set():
                    return  # the file was closed meanwhile, and the lock with it
                if self._wanted:
                    self._wanted = False
                    self._granted.release()
                else:
                    fcntl.flock(fd, fcntl.LOCK_UN)

    def _held_up(self, seconds: float) -> StoreError:
        holder = _holder(self._path)
        if holder is None:
            who, advice = "another process holds it up", "Look which process has the store open, and end it."
        else:
            pid, state = holder
            stopped = state in "Tt"
            who = f"process {pid} holds it up" + (", and is stopped" if stopped else "")
            advice = (
                f"Let it go on with `kill -CONT {pid}`, or end it: what it was writing is undone, what it had"
                " acknowledged is kept."
                if stopped
                else f"Look what process {pid} does, or end it: what it had acknowledged is kept."
            )
        return StoreError(
            f"the store {self._store} could not be written to within {round(seconds, 1):g} s: {who}",
            url=self._url,
            note=advice,
        )

    def close(self) -> None:
        """Let go of the file, and end the thread unless another process holds it up: then it ends with that."""
        with self._guard:
            self._closed.set()
            os.close(self._fd)
        self._asked.release()
        if self._thread is not None and not self._under_way:
            self._thread.join()


def _holder(path: str) -> tuple[int, str] | None:
    """Return the process that has the file locked and its state (T is stopped), or None when that cannot be seen."""
    found = os.stat(path)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1:3] == ["FLOCK", "ADVISORY"] and fields[5] == place and int(fields[4]) > 0:
                stat = Path(f"/proc/{fields[4]}/stat").read_text()
                return int(fields[4]), stat.rpartition(")")[2].split()[0]
    except OSError:  # not Linux, or it has just ended
        return None
    return None
