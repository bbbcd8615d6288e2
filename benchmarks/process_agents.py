"""Agents in processes of their own: start, questions and answers, memory."""

from __future__ import annotations

import asyncio
import time

from benchmarks.common import folder, proportional_kb, run, spread
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 3000, "many": 20}


def shoal(count: int, many: int) -> dict[str, float]:
    """Return the times of a start and of an answer, and what one more process takes."""
    return run(_shoal(count, many))


async def _shoal(count: int, many: int) -> dict[str, float]:
    from benchmarks.ours import Echo, begin, runtime

    with folder() as path:
        async with runtime(path) as here:
            begun = time.perf_counter()
            await begin(here, "echo", Echo, isolation="process")
            cold = time.perf_counter() - begun
            seconds = []
            for number in range(count + 100):
                begun = time.perf_counter()
                await here.request("echo", "ask", number)
                seconds.append(time.perf_counter() - begun)
            await asyncio.sleep(1)  # the spare process is made meanwhile
            begun = time.perf_counter()
            await begin(here, "warm", Echo, isolation="process")
            warm = time.perf_counter() - begun
            await asyncio.sleep(1)
            begun = time.perf_counter()
            await asyncio.gather(*(begin(here, f"one-{number}", Echo, isolation="process") for number in range(many)))
            all_up = time.perf_counter() - begun
            pids = [agent.process_id for agent in here.list_agents() if agent.name.startswith("one-")]
            memory = sum(proportional_kb(pid) for pid in pids if pid is not None) / len(pids) / 1024
            return {
                "cold_ms": cold * 1e3, "start_ms": warm * 1e3, "many_s": all_up, "each_mb": memory,
                "per_s": count / sum(seconds[100:]), **spread(seconds[100:]),
            }  # fmt: skip


MEASUREMENTS = (
    Measurement(
        name="process-agents",
        what="agents in processes of their own: request and reply one at a time; start; memory",
        figures={
            "per_s": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "cold_ms": "first start ms",
            "start_ms": "start ms", "many_s": "20 started, s", "each_mb": "MB each (shared parts divided)",
        },
        entries=(
            Entry("shoal", "benchmarks.process_agents:shoal", ARGUMENTS),
            Entry("ray", "benchmarks.peers.ray_:process_agents", ARGUMENTS, "actors, num_cpus=0, node on loopback"),
        ),
        bounds=(
            Bound("per_s", "floor", least=3, against="ray"),
            Bound("per_s", "goal", least=6000),
            Bound("p50_ms", "goal", most=0.25),
            Bound("p99_ms", "goal", most=1),
            Bound("start_ms", "floor", most=0.1, against="ray"),
            Bound("start_ms", "goal", most=30),
            Bound("many_s", "goal", most=1),
            Bound("each_mb", "goal", most=15),
        ),
        quick={"count": 200, "many": 3},
        timeout_seconds=240,
    ),
)  # fmt: skip
