"""Dramatiq on SQLite, by the third party's broker ``dramatiq-sqlite``; its own brokers need Redis or RabbitMQ."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq_sqlite import Database, SQLiteBroker

from benchmarks.common import Flight, folder, spread
from benchmarks.crash import LANES, REST_SECONDS, TASK_SECONDS, crash, mark

__all__ = ["crash", "latency", "tasks", "worker"]


class _Ends(dramatiq.Middleware):
    """Tells of the end of each message after it was acknowledged."""

    def __init__(self, told: Any) -> None:
        self._told = told

    def after_ack(self, broker: Any, message: Any) -> None:
        self._told()


def _broker(path: Path, durable: bool) -> SQLiteBroker:
    Database.concurrent_workload_pragmas["synchronous"] = "FULL" if durable else "NORMAL"
    broker = SQLiteBroker(url=str(path / "dramatiq.db"))
    dramatiq.set_broker(broker)
    return broker


def tasks(count: int, in_flight: int, durable: bool) -> dict[str, float]:
    """Return tasks a second."""
    with folder() as path:
        broker, flight = _broker(path, durable), Flight(in_flight)
        broker.add_middleware(_Ends(flight.end))

        @dramatiq.actor(broker=broker)
        def noop(n: int) -> None:
            return None

        worker = dramatiq.Worker(broker, worker_threads=LANES, worker_timeout=10)
        worker.start()
        try:
            return {"per_s": flight.per_second(lambda: noop.send(1), count)}
        finally:
            worker.stop()


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    with folder() as path:
        broker, done = _broker(path, True), threading.Event()
        broker.add_middleware(_Ends(done.set))

        @dramatiq.actor(broker=broker)
        def noop(n: int) -> None:
            return None

        worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=10)
        worker.start()
        try:
            seconds = []
            for _ in range(count):
                done.clear()
                begun = time.perf_counter()
                noop.send(1)
                if not done.wait(30):
                    raise TimeoutError("a task did not end")
                seconds.append(time.perf_counter() - begun)
            return spread(seconds)
        finally:
            worker.stop()


def worker(path: str, count: int) -> dict[str, float]:
    """Submit *count* tasks; with 0, work until killed."""
    here = Path(path)
    broker = _broker(here, True)

    @dramatiq.actor(broker=broker, max_retries=3)
    def work(number: int) -> None:
        mark(here, "began", number)
        time.sleep(TASK_SECONDS)
        mark(here, "ended", number)

    for number in range(count):
        work.send(number)
    if not count:
        dramatiq.Worker(broker, worker_threads=LANES).start()
        time.sleep(2 * REST_SECONDS)
    return {}
