"""Huey on SQLite: its consumer's threads in this process, their ends told by its signal (no poll for the result)."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.signals import SIGNAL_COMPLETE

from benchmarks.common import Flight, folder, spread
from benchmarks.crash import LANES, REST_SECONDS, TASK_SECONDS, crash, mark

__all__ = ["crash", "latency", "tasks", "worker"]

WORKERS = 4  # as fast as 1 and 2 with fsync, the fastest without; 8 and 64 are slower, since SQLite has one writer
POLL_SECONDS = 0.001


def _start(huey: SqliteHuey, workers: int) -> Any:
    consumer = huey.create_consumer(
        workers=workers, periodic=False, initial_delay=POLL_SECONDS, max_delay=POLL_SECONDS, check_worker_health=False
    )
    consumer.start()
    return consumer


def tasks(count: int, in_flight: int, durable: bool) -> dict[str, float]:
    """Return tasks a second."""
    with folder() as path:
        huey = SqliteHuey(filename=str(path / "huey.db"), fsync=durable)

        @huey.task()
        def noop(n: int) -> dict[str, bool]:
            return {"ok": True}

        flight = Flight(in_flight)
        huey.signal(SIGNAL_COMPLETE)(flight.end)
        consumer = _start(huey, WORKERS)
        try:
            flight.per_second(lambda: noop(1), count // 10)
            return {"per_s": flight.per_second(lambda: noop(1), count)}
        finally:
            consumer.stop()


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    with folder() as path:
        huey = SqliteHuey(filename=str(path / "huey.db"), fsync=True)
        done = threading.Event()

        @huey.task()
        def noop(n: int) -> dict[str, bool]:
            return {"ok": True}

        huey.signal(SIGNAL_COMPLETE)(lambda *_: done.set())
        consumer = _start(huey, 1)
        try:
            seconds = []
            for _ in range(count + count // 10):
                done.clear()
                begun = time.perf_counter()
                noop(1)
                if not done.wait(30):
                    raise TimeoutError("a task did not end")
                seconds.append(time.perf_counter() - begun)
            return spread(seconds[count // 10 :])
        finally:
            consumer.stop()


def worker(path: str, count: int) -> dict[str, float]:
    """Submit *count* tasks; with 0, work until killed."""
    here = Path(path)
    huey = SqliteHuey(filename=str(here / "huey.db"), fsync=True)

    @huey.task(retries=3)
    def work(number: int) -> None:
        mark(here, "began", number)
        time.sleep(TASK_SECONDS)
        mark(here, "ended", number)

    for number in range(count):
        work(number)
    if not count:
        _start(huey, LANES)
        time.sleep(2 * REST_SECONDS)
    return {}
