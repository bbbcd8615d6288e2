"""What one submit, claim, settle and look take when 1,000 tasks are queued, and when 1,000,000 are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.common import folder, run, spread
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"few": 1000, "many": 1_000_000, "count": 1000}
BATCH = 10_000
VERBS = ("submit", "claim", "settle", "status")


def shoal(few: int, many: int, count: int) -> dict[str, float]:
    """Return p50 with many queued, and the ratios many to few of p50 and p95, verb by verb."""
    return run(_shoal(few, many, count))


async def _shoal(few: int, many: int, count: int) -> dict[str, float]:
    from benchmarks.ours import runtime

    figures: dict[str, float] = {}
    with folder() as path:
        async with runtime(path) as here:
            await _fill(here, few)
            small = await _measure(here, count)
            await _fill(here, many - few)
            large = await _measure(here, count)
            for verb in VERBS:
                figures[f"{verb}_p50_ms"] = large[verb]["p50_ms"]
                figures[f"{verb}_p95_ms"] = large[verb]["p95_ms"]
                for share in ("p50", "p95"):
                    figures[f"{verb}_{share}_ratio"] = large[verb][f"{share}_ms"] / small[verb][f"{share}_ms"]
    for share in ("p50", "p95"):
        figures[f"worst_{share}_ratio"] = max(figures[f"{verb}_{share}_ratio"] for verb in VERBS)
    return figures


async def _fill(here: object, count: int) -> None:
    from shoal.runtime import AgentRuntime, TaskSpec

    assert isinstance(here, AgentRuntime)
    for start in range(0, count, BATCH):
        number = min(BATCH, count - start)
        await here.submit_tasks([TaskSpec(name="queued", priority=n % 101) for n in range(number)])


async def _measure(here: object, count: int) -> dict[str, dict[str, float]]:
    """Time each verb alone, as it is called in turn; every settled task is replaced by a new one."""
    from shoal.kernel.clock import RealClock
    from shoal.kernel.ports import Fence, Outcome, Settlement
    from shoal.kernel.room import Room, Slot
    from shoal.runtime import AgentRuntime

    assert isinstance(here, AgentRuntime)
    await asyncio.sleep(1)
    clock, tasks = RealClock(), here.store.tasks
    seconds: dict[str, list[float]] = {verb: [] for verb in VERBS}
    room = Room([Slot(agent_id="bench", targets=("",), free=1)])

    async def clocked(verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        begun = time.perf_counter()
        value = await call()
        seconds[verb].append(time.perf_counter() - begun)
        return value

    for number in range(count):
        task_id = await clocked("submit", partial(here.submit_task, "queued", priority=number % 101))
        begun = time.perf_counter()
        here.get_task_status(task_id)
        seconds["status"].append(time.perf_counter() - begun)
        claims = await clocked("claim", lambda: tasks.claim(here.node_id, room, now=clock.now(), starved_before=None))
        fence = Fence(claims[0].task.task_id, here.node_id, claims[0].task.attempt)
        done = Settlement(fence=fence, agent_id="bench", outcome=Outcome.COMPLETED, output=None)
        await clocked("settle", partial(tasks.settle, done, now=clock.now()))
    return {verb: spread(values) for verb, values in seconds.items()}


MEASUREMENTS = (
    Measurement(
        name="growth",
        what="one submit, claim, settle, status: 1,000,000 queued beside 1,000 queued",
        figures={
            "worst_p50_ratio": "worst p50 ratio", "worst_p95_ratio": "worst p95 ratio",
            **{f"{verb}_{share}_ms": f"{verb} {share} ms" for verb in VERBS for share in ("p50", "p95")},
        },
        entries=(Entry("shoal", "benchmarks.growth:shoal", ARGUMENTS),),
        bounds=(
            Bound("worst_p50_ratio", "floor", most=2),
            Bound("worst_p50_ratio", "goal", most=1.3),
            Bound("worst_p95_ratio", "goal", most=1.5),
            Bound("submit_p95_ms", "goal", most=5),
        ),
        quick={"many": 20_000, "count": 100},
        runs=1,
        timeout_seconds=600,
    ),
)  # fmt: skip
