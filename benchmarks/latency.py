"""From submit to done, one task at a time, each commit on disk: with one agent, and beside many that are idle."""

from __future__ import annotations

import time

from benchmarks.common import folder, run, spread
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 1000}
COUNT = 500


def shoal(count: int, agents: int = 1) -> dict[str, float]:
    """Return percentiles in milliseconds, with so many agents of which any may be given the task."""
    return run(_shoal(count, agents))


async def _shoal(count: int, agents: int) -> dict[str, float]:
    from benchmarks.ours import Noop, begin, runtime

    with folder() as path:
        async with runtime(path) as here:
            for number in range(agents):
                await begin(here, f"agent-{number}", Noop)
            seconds = []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}))
                seconds.append(time.perf_counter() - begun)
                task.result()
            return spread(seconds[count // 10 :])


_FIGURES = {"p50_ms": "p50 ms", "p99_ms": "p99 ms"}

MEASUREMENTS = (
    Measurement(
        name="latency",
        what="submit to done, one at a time, each commit on disk",
        figures=_FIGURES,
        entries=(
            Entry("shoal", "benchmarks.latency:shoal", ARGUMENTS),
            Entry("huey", "benchmarks.peers.huey_:latency", ARGUMENTS, "fsync=True, polls each ms, end told by signal"),
            Entry("dramatiq", "benchmarks.peers.dramatiq_:latency", {"count": 30}, "its consumer asks every 100 ms"),
            Entry("dbos", "benchmarks.peers.dbos_:latency", {"count": 200}, "called directly, not by its queue"),
        ),
        bounds=(
            Bound("p50_ms", "floor", most=1, against="huey"),
            Bound("p50_ms", "goal", most=1.2),
            Bound("p50_ms", "goal", most=0.8, against="huey"),
            Bound("p99_ms", "goal", most=4),
        ),
        quick={"count": 30},
    ),
    Measurement(
        name="idle",
        what="submit to done, one at a time, beside idle agents in this process",
        figures=_FIGURES,
        entries=(
            Entry("shoal, 10", "benchmarks.latency:shoal", {"agents": 10, "count": COUNT}),
            Entry("shoal, 1,000", "benchmarks.latency:shoal", {"agents": 1000, "count": COUNT}),
            Entry("shoal", "benchmarks.latency:shoal", {"agents": 10_000, "count": COUNT}, "10,000 idle agents"),
        ),
        bounds=(Bound("p50_ms", "goal", most=1.2),),
        quick={"agents": 100, "count": 30},
        runs=2,
    ),
)
