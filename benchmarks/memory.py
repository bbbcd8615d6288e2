"""Memory of an agent that waits for work, in this process."""

from __future__ import annotations

import gc
import tracemalloc

from benchmarks.common import folder, resident_kb, run
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 10_000}


def shoal(count: int, heap: bool = False) -> dict[str, float]:
    """Return what one agent more takes: of resident memory, or (*heap*) in objects of Python."""
    return run(_shoal(count, heap))


async def _shoal(count: int, heap: bool) -> dict[str, float]:
    from benchmarks.ours import Echo, begin, runtime

    with folder() as path:
        async with runtime(path) as here:
            for number in range(500):  # what is made once is not an agent's
                await begin(here, f"first-{number}", Echo)
            gc.collect()
            if heap:
                tracemalloc.start()
            before = resident_kb()
            for number in range(count):
                await begin(here, f"agent-{number}", Echo)
            gc.collect()
            if heap:
                return {"each_kb": tracemalloc.get_traced_memory()[0] / count / 1024}
            return {"each_kb": (resident_kb() - before) / count}


MEASUREMENTS = (
    Measurement(
        name="memory",
        what="memory of one idle agent in this process",
        figures={"each_kb": "KB each"},
        entries=(
            Entry("shoal", "benchmarks.memory:shoal", ARGUMENTS, "resident"),
            Entry("shoal, objects", "benchmarks.memory:shoal", {**ARGUMENTS, "heap": True}, "as tracemalloc counts"),
            Entry("pykka", "benchmarks.peers.pykka_:memory", {"count": 2000}, "resident; one thread each"),
        ),
        bounds=(
            Bound("each_kb", "floor", most=1, against="pykka"),
            Bound("each_kb", "goal", most=4, of="shoal, objects"),
        ),
        quick={"count": 500},
        runs=2,
    ),
)
