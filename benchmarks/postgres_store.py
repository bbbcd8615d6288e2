"""Durable tasks on PostgreSQL, on the same processors: end to end, one at a time, across two processes, verbs alone.

Each commit is on disk (``fsync`` on). The server is the one of the extra ``cluster``, with its default settings.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.common import keep_in_flight, run, spread
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.sides import Sides, until_alone

_BUFFERS = {"shared_buffers": "256MB"}


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """A PostgreSQL of its own; its URL."""
    from shoal.cluster import PostgresServer

    # Not beside the code: under root the server runs as another user, who must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-", dir="/var/tmp"))
    postgres = PostgresServer(folder, settings=_BUFFERS)
    try:
        await postgres.start()
        yield postgres.url
    finally:
        await postgres.stop()
        shutil.rmtree(folder)


def tasks(count: int, in_flight: int) -> dict[str, float]:
    """Return tasks a second on one node."""
    return run(_tasks(count, in_flight))


async def _tasks(count: int, in_flight: int) -> dict[str, float]:
    from benchmarks.ours import Noop, begin

    async with server() as url, _runtime(url) as here:
        await begin(here, "worker", Noop, max_concurrent_tasks=in_flight)

        async def one() -> None:
            task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}))
            task.result()

        await keep_in_flight(one, count // 10, in_flight)
        return {"per_s": await keep_in_flight(one, count, in_flight)}


def alone(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from submit to done, one at a time, on one node."""
    return run(_alone(count))


async def _alone(count: int) -> dict[str, float]:
    from benchmarks.ours import Noop, begin

    async with server() as url, _runtime(url) as here:
        await begin(here, "worker", Noop)
        return await _one_by_one(here, count)


async def _one_by_one(here: object, count: int, **options: object) -> dict[str, float]:
    seconds = []
    for _ in range(count + count // 10):
        begun = time.perf_counter()
        task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}, **options))  # type: ignore[attr-defined]
        seconds.append(time.perf_counter() - begun)
        task.result()
    return spread(seconds[count // 10 :])


def across(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from submit in one process to done, executed in another."""
    return run(_across(count))


async def _across(count: int) -> dict[str, float]:
    async with server() as url, _runtime(url) as here:
        with Sides("benchmarks.postgres_store") as sides:
            await asyncio.to_thread(sides.begin, "worker_side", url=url)
            return await _one_by_one(here, count, agent="worker")


def worker_side(url: str) -> None:
    """Be the node that carries out."""
    run(_worker_side(url))


async def _worker_side(url: str) -> None:
    from benchmarks.ours import Noop, begin

    async with _runtime(url) as here:
        await begin(here, "worker", Noop, max_concurrent_tasks=64)
        await until_alone()


def _runtime(url: str):  # type: ignore[no-untyped-def]
    from benchmarks.ours import NO_LIMITS
    from shoal.runtime import AgentRuntime

    return AgentRuntime(None, NO_LIMITS, store=url, config={"launch_memory_limit": None})


def verbs(count: int, in_flight: int) -> dict[str, float]:
    """Return how many operations a second the store does alone, *in_flight* in a group: enqueue, claim, settle."""
    return run(_verbs(count, in_flight))


async def _verbs(count: int, in_flight: int) -> dict[str, float]:
    from shoal.kernel.ports import Fence, Node, Outcome, Settlement
    from shoal.kernel.room import Room, Slot
    from shoal.kernel.task import Task
    from shoal.store import open_store

    async with server() as url:
        store = open_store(url)
        await store.open()
        now = datetime.now(UTC)
        node = Node(
            node_id="n", runtime_id="r", name="n", host="h", pid=1, pid_started=1, started_at=now,
            lease_until=now + timedelta(hours=1),
        )  # fmt: skip
        await store.leases.join(node, now=now)
        room = Room([Slot(agent_id="a", targets=("",), free=in_flight)])
        seconds = dict.fromkeys(("enqueue", "claim", "settle"), 0.0)
        for turn in range(count // in_flight):
            begun = time.perf_counter()
            new = [Task(task_id=f"t{turn}-{n}", name="noop", created_at=now) for n in range(in_flight)]
            await asyncio.gather(*(store.tasks.enqueue([task], now=now, max_pending=None) for task in new))
            between = time.perf_counter()
            claims = await store.tasks.claim("n", room, now=now)
            claimed = time.perf_counter()
            ends = [
                Settlement(
                    fence=Fence(each.task.task_id, "n", each.task.attempt), agent_id="a", outcome=Outcome.COMPLETED
                )
                for each in claims
            ]
            await asyncio.gather(*(store.tasks.settle(end, now=now) for end in ends))
            seconds["enqueue"] += between - begun
            seconds["claim"] += claimed - between
            seconds["settle"] += time.perf_counter() - claimed
        await store.close()
        return {f"{verb}_per_s": count / taken for verb, taken in seconds.items()}


_FIGURES = {"p50_ms": "p50 ms", "p99_ms": "p99 ms"}

MEASUREMENTS = (
    Measurement(
        name="postgres-tasks",
        what="durable no-op tasks end to end, PostgreSQL on the same processors, each commit on disk, 64 in flight",
        figures={"per_s": "tasks/s"},
        entries=(Entry("shoal", "benchmarks.postgres_store:tasks", {"count": 5000, "in_flight": 64}),),
        bounds=(Bound("per_s", "goal", least=5000),),
        quick={"count": 300},
    ),
    Measurement(
        name="postgres-latency",
        what="submit to done, one at a time, PostgreSQL: on one node",
        figures=_FIGURES,
        entries=(Entry("shoal", "benchmarks.postgres_store:alone", {"count": 500}),),
        bounds=(),
        quick={"count": 30},
    ),
    Measurement(
        name="postgres-across",
        what="submit to done, one at a time, PostgreSQL: executed by another process",
        figures=_FIGURES,
        entries=(
            Entry("shoal", "benchmarks.postgres_store:across", {"count": 300}),
            Entry(
                "asyncpg", "benchmarks.peers.asyncpg_:across", {"count": 300},
                "by hand: three statements, two that notify; no leases, events, order",
            ),
        ),
        bounds=(Bound("p50_ms", "goal", most=3),),
        quick={"count": 30},
    ),
    Measurement(
        name="postgres-verbs",
        what="verbs of the store alone, PostgreSQL, 64 in a group",
        figures={
            "enqueue_per_s": "tasks enqueued/s",
            "claim_per_s": "tasks claimed/s",
            "settle_per_s": "tasks settled/s",
        },
        entries=(Entry("shoal", "benchmarks.postgres_store:verbs", {"count": 5000, "in_flight": 64}),),
        bounds=(),
        quick={"count": 300},
    ),
)  # fmt: skip
