"""Celery with broker and results in PostgreSQL by SQLAlchemy: its workers, each a process; each commit on disk."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from celery import Celery
from celery.signals import worker_ready
from kombu.transport.sqlalchemy import Transport

from benchmarks.common import keep_busy, spread
from benchmarks.engines import engines
from benchmarks.node_rounds import WAIT_SECONDS, on_each, per_second_until
from benchmarks.sides import Sides, say

__all__ = ["latency", "tasks", "working"]

SUBMITTING = 16
POLL_SECONDS = 0.05
PROMPT_POLL_SECONDS = 0.005


def tasks(count: int) -> dict[str, float]:
    """Return tasks a second with one, two and four workers."""
    with engines() as servers, Sides(__name__) as sides, psycopg.connect(servers.store, autocommit=True) as looking:
        app = _app(servers.store)

        def ended() -> int:
            row = looking.execute("SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'").fetchone()
            assert row is not None
            return int(row[0])

        def submit(many: int) -> None:
            keep_busy(lambda: app.send_task("noop", (1,)), many, SUBMITTING)

        def measure() -> float:
            app.send_task("noop", (1,)).get(timeout=WAIT_SECONDS)  # the table of the results is made by the first
            return per_second_until(ended, count, submit)

        return on_each(
            lambda number: sides.begin("working", url=servers.store, number=number, poll=POLL_SECONDS), measure
        )


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from the sending to the result."""
    with engines() as servers, Sides(__name__) as sides:
        sides.begin("working", url=servers.store, number=0, poll=PROMPT_POLL_SECONDS)
        app, seconds = _app(servers.store), []
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            app.send_task("noop", (1,)).get(timeout=WAIT_SECONDS, interval=0.001)
            seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])


def _app(url: str) -> Celery:
    driven = url.replace("postgresql://", "postgresql+psycopg://")
    app = Celery("bench", broker=f"sqla+{driven}", backend=f"db+{driven}")
    app.conf.update(
        broker_transport_options={"pool_size": SUBMITTING},
        broker_pool_limit=SUBMITTING,
        broker_connection_retry_on_startup=True,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        database_short_lived_sessions=False,
    )

    @app.task(name="noop")  # type: ignore[untyped-decorator]
    def noop(n: int) -> dict[str, bool]:
        return {"ok": True}

    return app


def working(url: str, number: int, poll: float) -> None:
    """Be a worker that asks an empty queue again after *poll* seconds, until killed."""
    Transport.polling_interval = poll  # a second by itself; this transport takes no option for it

    @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def ready(**_: Any) -> None:
        say()

    given = ["--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    _app(url).worker_main(["--quiet", "worker", f"--hostname=w{number}@bench", *given])
