"""Procrastinate on PostgreSQL: its workers, each a process, and one that defers; each commit on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from procrastinate import App, PsycopgConnector

from benchmarks.common import keep_in_flight, spread
from benchmarks.engines import engines
from benchmarks.node_rounds import WAIT_SECONDS, on_each, per_second_until
from benchmarks.sides import Sides, say

__all__ = ["latency", "tasks", "working"]

IN_FLIGHT = 64
CONCURRENCY = 64
CONNECTIONS = 32


def tasks(count: int) -> dict[str, float]:
    """Return jobs a second with one, two and four workers."""
    with _prepared() as url, Sides(__name__) as sides, psycopg.connect(url, autocommit=True) as looking:

        def ended() -> int:
            query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
            row = looking.execute(query).fetchone()
            assert row is not None
            return int(row[0])

        return on_each(
            lambda _: sides.begin("working", url=url),
            lambda: per_second_until(ended, count, lambda many: asyncio.run(_submitted(url, many))),
        )


async def _submitted(url: str, count: int) -> None:
    app = _app(url)
    async with app.open_async():
        noop = app.configure_task("noop")

        async def one() -> None:
            await noop.defer_async(n=1)

        await keep_in_flight(one, count, IN_FLIGHT)


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from the deferring to a succeeded job."""
    with _prepared() as url, Sides(__name__) as sides, psycopg.connect(url, autocommit=True) as looking:
        sides.begin("working", url=url)
        app = _app(url)
        with app.open():
            noop, seconds = app.configure_task("noop"), []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                _until_succeeded(looking, noop.defer(n=1))
                seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])


def _until_succeeded(looking: psycopg.Connection, job: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while looking.execute("SELECT status FROM procrastinate_jobs WHERE id = %s", (job,)).fetchone() != ("succeeded",):
        if time.monotonic() > deadline:
            raise TimeoutError("a job did not end")
        time.sleep(0.001)


@contextmanager
def _prepared() -> Iterator[str]:
    with engines() as servers:
        app = _app(servers.store)
        with app.open():
            app.schema_manager.apply_schema()
        yield servers.store


def _app(url: str) -> App:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=CONNECTIONS))

    @app.task(name="noop")
    async def noop(n: int) -> dict[str, bool]:
        return {"ok": True}

    return app


def working(url: str) -> None:
    """Be a worker, until killed. It listens for new jobs, as it does by itself."""
    asyncio.run(_working(url))


async def _working(url: str) -> None:
    app = _app(url)
    async with app.open_async():
        worker = asyncio.ensure_future(app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False))
        await asyncio.sleep(0.5)  # it listens then
        say()
        await worker
