"""Durable steps in one task, one after the other: each is on disk before the next begins."""

from __future__ import annotations

import time

from benchmarks.common import folder, run
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 2000}


def shoal(count: int) -> dict[str, float]:
    """Return steps a second."""
    return run(_shoal(count))


async def _shoal(count: int) -> dict[str, float]:
    from benchmarks.ours import begin, runtime
    from shoal.runtime import AgentContext, Task

    async def effect() -> int:
        return 1

    async def stepper(task: Task, context: AgentContext) -> float:
        begun = time.perf_counter()
        for number in range(count):
            await context.step(f"step-{number}", effect)
        return count / (time.perf_counter() - begun)

    with folder() as path:
        async with runtime(path) as here:
            await begin(here, "stepper", stepper)
            task = await here.wait_for_task(await here.submit_task("steps"))
            return {"per_s": float(task.result())}


MEASUREMENTS = (
    Measurement(
        name="steps",
        what="durable steps, one writer, each commit on disk",
        figures={"per_s": "steps/s"},
        entries=(
            Entry("shoal", "benchmarks.steps:shoal", ARGUMENTS),
            Entry("dbos", "benchmarks.peers.dbos_:steps", {"count": 500}, "steps of one workflow, SQLite"),
        ),
        bounds=(
            Bound("per_s", "floor", least=4, against="dbos"),
            Bound("per_s", "goal", least=3000),
            Bound("per_s", "goal", least=10, against="dbos"),
        ),
        quick={"count": 50},
    ),
)
