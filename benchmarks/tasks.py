"""Durable no-op tasks end to end: submitted, executed, result stored and known to who waits; 64 in flight."""

from __future__ import annotations

from benchmarks.common import folder, keep_in_flight, run
from benchmarks.measurement import Bound, Entry, Measurement

FULL = {"count": 5000, "in_flight": 64, "durable": True}
NORMAL = {**FULL, "durable": False}


def shoal(count: int, in_flight: int, durable: bool) -> dict[str, float]:
    """Return tasks a second."""
    return run(_shoal(count, in_flight, "full" if durable else "normal"))


async def _shoal(count: int, in_flight: int, durability: str) -> dict[str, float]:
    from benchmarks.ours import Noop, begin, runtime

    with folder() as path:
        async with runtime(path, durability=durability) as here:
            await begin(here, "worker", Noop, max_concurrent_tasks=in_flight)

            async def one() -> None:
                task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}))
                task.result()

            await keep_in_flight(one, count // 10, in_flight)
            return {"per_s": await keep_in_flight(one, count, in_flight)}


MEASUREMENTS = (
    Measurement(
        name="tasks",
        what="durable no-op tasks end to end, SQLite, each commit on disk, 64 in flight",
        figures={"per_s": "tasks/s"},
        entries=(
            Entry("shoal", "benchmarks.tasks:shoal", FULL),
            Entry("huey", "benchmarks.peers.huey_:tasks", FULL, "fsync=True, consumer threads in the same process"),
            Entry(
                "dramatiq",
                "benchmarks.peers.dramatiq_:tasks",
                {**FULL, "count": 300},
                "on dramatiq-sqlite, synchronous=FULL; its consumer asks every 100 ms",
            ),
            Entry("dbos", "benchmarks.peers.dbos_:tasks", {**FULL, "count": 600}, "workflow with one step, SQLite"),
        ),
        bounds=(
            Bound("per_s", "floor", least=1, against="huey"),
            Bound("per_s", "floor", least=5, against="dbos"),
            Bound("per_s", "goal", least=5000),
            Bound("per_s", "goal", least=3.5, against="huey"),
            Bound("per_s", "goal", least=2.5, against="dramatiq"),
            Bound("per_s", "goal", least=12, against="dbos"),
        ),
        quick={"count": 300},
    ),
    Measurement(
        name="tasks-normal",
        what="the same, a power cut may lose the last commits",
        figures={"per_s": "tasks/s"},
        entries=(
            Entry("shoal", "benchmarks.tasks:shoal", NORMAL, 'durability="normal"'),
            Entry("huey", "benchmarks.peers.huey_:tasks", NORMAL, "fsync=False, which is synchronous=OFF"),
        ),
        bounds=(
            Bound("per_s", "floor", least=1, against="huey"),
            Bound("per_s", "goal", least=1.3, against="huey"),
        ),
        quick={"count": 300},
    ),
)
