"""What ours and the peers' share: the loop, percentiles, folders, memory. Standard library, and uvloop where it is there."""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, or on asyncio's own loop where there is none."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder on a real disk (beside the code, not in a memory file system), removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path(__file__).parent) as path:
        yield Path(path)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* (0 to 1) of *values* lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds."""
    return {f"p{share}_ms": percentile(seconds, share / 100) * 1e3 for share in (50, 95, 99)}


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return how many seconds each of *times* calls took."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return seconds


async def keep_in_flight(start: Callable[[], Coroutine[Any, Any, object]], count: int, in_flight: int) -> float:
    """Run *count* calls, *in_flight* at a time; return how many a second."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await start()

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    return count / (time.perf_counter() - begun)


def keep_busy(call: Callable[[], object], count: int, threads: int) -> None:
    """Make *count* calls, one after the other in each of so many threads. Raises what one of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for ended in [pool.submit(call) for _ in range(count)]:
            ended.result()


class Flight:
    """Counts calls in flight for peers that tell of their ends on another thread."""

    def __init__(self, in_flight: int) -> None:
        self._free = threading.Semaphore(in_flight)
        self._ended = 0
        self._lock = threading.Lock()
        self._all = threading.Event()
        self._target = 0

    def end(self, *_: object) -> None:
        """Note one end."""
        with self._lock:
            self._ended += 1
            if self._ended == self._target:
                self._all.set()
        self._free.release()

    def per_second(self, start: Callable[[], object], count: int, timeout: float = 120) -> float:
        """Start *count* calls with the agreed number in flight; return how many ended a second."""
        with self._lock:
            self._ended, self._target = 0, count
            self._all.clear()
        begun = time.perf_counter()
        for _ in range(count):
            if not self._free.acquire(timeout=timeout):
                raise TimeoutError(f"only {self._ended} of {count} ended")
            start()
        if not self._all.wait(timeout):
            raise TimeoutError(f"only {self._ended} of {count} ended")
        return count / (time.perf_counter() - begun)


def resident_kb(pid: int | str = "self") -> float:
    """Return the resident memory of a process in KB (1,024 bytes)."""
    return _kb(Path(f"/proc/{pid}/status").read_text(), "VmRSS:")


def proportional_kb(pid: int | str = "self") -> float:
    """Return its memory with what it shares divided by how many share it, in KB."""
    return _kb(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:")


def _kb(text: str, key: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(key)).split()[1])
