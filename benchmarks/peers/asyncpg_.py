"""asyncpg alone: the least that a durable task from one process to another takes on this machine.

Three statements that commit (the row, its claim, its end), two of which notify the other side within their transaction;
no look at what is paused, cancelled or more urgent, no leases, events or counts, nothing for many at once. What a runtime
adds to this is its own; what this takes is the server's and the machine's.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from benchmarks.common import run, spread
from benchmarks.engines import engines
from benchmarks.sides import Sides, until_alone

__all__ = ["across", "working"]

_TABLE = """CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text NOT NULL DEFAULT 'ready',
    input jsonb NOT NULL, output jsonb);
    CREATE INDEX ready ON jobs (id) WHERE status = 'ready'"""
_SUBMIT = """WITH new AS (INSERT INTO jobs (input) VALUES ($1) RETURNING id)
    SELECT id, pg_notify('ready', '') FROM new"""
_CLAIM = """UPDATE jobs SET status = 'running' WHERE id = (
    SELECT id FROM jobs WHERE status = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, input"""
_END = """WITH ended AS (UPDATE jobs SET status = 'done', output = $2 WHERE id = $1 AND status = 'running' RETURNING id)
    SELECT pg_notify('ended', id::text) FROM ended"""


def across(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from the row to having heard of its end, carried out by another process."""
    with engines() as servers, Sides(__name__) as sides:
        return run(_across(servers.store, sides, count))


async def _across(url: str, sides: Sides, count: int) -> dict[str, float]:
    writes, hears = await asyncpg.connect(url), await asyncpg.connect(url)
    await writes.execute(_TABLE)
    ended: dict[int, asyncio.Event] = {}
    await hears.add_listener("ended", lambda *heard: ended.setdefault(int(heard[3]), asyncio.Event()).set())
    await asyncio.to_thread(sides.begin, "working", url=url)
    seconds = []
    for _ in range(count + count // 10):
        begun = time.perf_counter()
        job = await writes.fetchval(_SUBMIT, '{"n": 1}')
        await ended.setdefault(job, asyncio.Event()).wait()
        seconds.append(time.perf_counter() - begun)
    await writes.close()
    await hears.close()
    return spread(seconds[count // 10 :])


def working(url: str) -> None:
    """Be the process that carries out, until alone."""
    run(_working(url))


async def _working(url: str) -> None:
    writes, hears = await asyncpg.connect(url), await asyncpg.connect(url)
    ready = asyncio.Event()
    await hears.add_listener("ready", lambda *heard: ready.set())

    async def work() -> None:
        while True:
            await ready.wait()
            ready.clear()
            while (job := await writes.fetchrow(_CLAIM)) is not None:
                await writes.fetch(_END, job["id"], '{"ok": true}')

    working = asyncio.ensure_future(work())
    await until_alone()
    working.cancel()
    await asyncio.wait([working])
    await writes.close()
    await hears.close()
