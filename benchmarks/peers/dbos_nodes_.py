"""DBOS on PostgreSQL: its executors, each a process, take workflows from a queue; each commit on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from benchmarks.common import keep_busy, spread
from benchmarks.engines import engines
from benchmarks.node_rounds import on_each, per_second_until
from benchmarks.sides import Sides, say

__all__ = ["latency", "tasks", "working"]

IN_FLIGHT = 64
POLL_SECONDS = 0.05
PROMPT_POLL_SECONDS = 0.01
QUEUE = "work"
_OPTIONS: EnqueueOptions = {"queue_name": QUEUE, "workflow_name": "noop", "app_version": "1"}


def tasks(count: int) -> dict[str, float]:
    """Return workflows a second with one, two and four executors."""
    with engines() as servers, Sides(__name__) as sides:

        def measure() -> float:
            with _client(servers.store) as client, psycopg.connect(servers.store, autocommit=True) as looking:

                def ended() -> int:
                    query = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS' AND name = 'noop'"
                    row = looking.execute(query).fetchone()
                    assert row is not None
                    return int(row[0])

                def submit(many: int) -> None:
                    keep_busy(lambda: client.enqueue(_OPTIONS, 1), many, IN_FLIGHT)

                return per_second_until(ended, count, submit)

        return on_each(
            lambda number: sides.begin("working", url=servers.store, number=number, poll=POLL_SECONDS), measure
        )


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from the enqueuing to the result."""
    with engines() as servers, Sides(__name__) as sides:
        sides.begin("working", url=servers.store, number=0, poll=PROMPT_POLL_SECONDS)
        with _client(servers.store) as client:
            seconds = []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                client.enqueue(_OPTIONS, 1).get_result(polling_interval_sec=0.001)
                seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])


@contextmanager
def _client(url: str) -> Iterator[DBOSClient]:
    client = DBOSClient(system_database_url=_driven(url), system_database_pool_size=20)
    try:
        yield client
    finally:
        client.destroy()


def _driven(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def working(url: str, number: int, poll: float) -> None:
    """Be an executor that asks the queue each *poll* seconds, until killed."""
    config: DBOSConfig = {
        "name": "bench", "system_database_url": _driven(url), "application_version": "1", "executor_id": f"e{number}",
        "log_level": "ERROR", "enable_otlp": False,
    }  # fmt: skip
    DBOS(config=config)

    @DBOS.workflow(name="noop")
    def noop(n: int) -> dict[str, bool]:
        return {"ok": True}

    DBOS.launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=poll)
    say()
    threading.Event().wait()
