"""DBOS on SQLite, with ``synchronous=FULL``, which is also SQLite's default."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from dbos import DBOS, DBOSConfig

from benchmarks.common import folder, spread
from benchmarks.crash import LANES, REST_SECONDS, TASK_SECONDS, crash, mark

__all__ = ["crash", "latency", "steps", "tasks", "worker"]


def _launched(path: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{path}/dbos.db",
        "application_version": "1",
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        return measure()
    finally:
        DBOS.destroy()


@DBOS.step()
def _effect() -> dict[str, bool]:
    return {"ok": True}


@DBOS.workflow()
def _noop(n: int) -> dict[str, bool]:
    return {"ok": True}


@DBOS.workflow()
def _steps(count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        _effect()
    return count / (time.perf_counter() - begun)


def tasks(count: int, in_flight: int, durable: bool) -> dict[str, float]:
    """Return workflows a second: started durably, executed by its threads, result stored and awaited."""

    def measure() -> dict[str, float]:
        left = iter(range(count))
        lock = threading.Lock()

        def lane() -> None:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                _noop(1)

        lanes = [threading.Thread(target=lane) for _ in range(in_flight)]
        begun = time.perf_counter()
        for thread in lanes:
            thread.start()
        for thread in lanes:
            thread.join()
        return {"per_s": count / (time.perf_counter() - begun)}

    with folder() as path:
        return _launched(path, measure)


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds of a workflow that is called and returns."""

    def measure() -> dict[str, float]:
        seconds = []
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            _noop(1)
            seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])

    with folder() as path:
        return _launched(path, measure)


def steps(count: int) -> dict[str, float]:
    """Return steps a second in one workflow."""
    with folder() as path:
        return _launched(path, lambda: {"per_s": _steps(count)})


_marked: Path


@DBOS.workflow()
def _work(number: int) -> None:
    mark(_marked, "began", number)
    time.sleep(TASK_SECONDS)
    mark(_marked, "ended", number)


def worker(path: str, count: int) -> dict[str, float]:
    """Submit *count* tasks; with 0, work until killed."""
    global _marked
    _marked = Path(path)

    def measure() -> dict[str, float]:
        DBOS.register_queue("work", worker_concurrency=LANES, polling_interval_sec=0.05)
        for number in range(count):
            DBOS.enqueue_workflow("work", _work, number)
        if not count:
            time.sleep(2 * REST_SECONDS)
        return {}

    return _launched(_marked, measure)
