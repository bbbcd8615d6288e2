"""What agents that wait for work cost those that have some: from submit to done, beside many idle ones."""

from __future__ import annotations

import time

from benchmarks.common import folder, run, spread
from benchmarks.measurement import Bound, Entry, Measurement

COUNT = 500


def shoal(idle: int, count: int) -> dict[str, float]:
    """Return percentiles in milliseconds beside *idle* agents."""
    return run(_shoal(idle, count))


async def _shoal(idle: int, count: int) -> dict[str, float]:
    from benchmarks.ours import Noop, begin, runtime

    with folder() as path:
        async with runtime(path) as here:
            for number in range(idle):
                await begin(here, f"idle-{number}", Noop)
            seconds = []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}))
                seconds.append(time.perf_counter() - begun)
                task.result()
            return spread(seconds[count // 10 :])


MEASUREMENTS = (
    Measurement(
        name="idle",
        what="submit to done, one at a time, beside idle agents in this process",
        figures={"p50_ms": "p50 ms", "p99_ms": "p99 ms"},
        entries=(
            Entry("shoal, 10", "benchmarks.idle:shoal", {"idle": 10, "count": COUNT}),
            Entry("shoal, 1,000", "benchmarks.idle:shoal", {"idle": 1000, "count": COUNT}),
            Entry("shoal", "benchmarks.idle:shoal", {"idle": 10_000, "count": COUNT}, "10,000 idle agents"),
        ),
        bounds=(Bound("p50_ms", "goal", most=1.2),),
        quick={"idle": 100, "count": 30},
        runs=2,
    ),
)
