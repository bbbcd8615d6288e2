"""What a choice among instances and a circuit breaker cost, and what processes bring for work with the processor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.common import folder, run
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 5000, "instances": 100}
ROUNDS = 20
SINGLE = 200


def pick(count: int, instances: int) -> dict[str, float]:
    """Return microseconds for each: the median over rounds of the mean of a round."""
    from shoal.services.balancer import LoadBalancer
    from shoal.services.breaker import CircuitBreaker
    from shoal.services.info import AgentRecord

    now = datetime(2026, 1, 1, tzinfo=UTC)
    records = [
        AgentRecord(
            uuid=str(n), name="worker", instance=f"worker/{n:08x}", load=n % 7, registered_at=now, last_seen=now
        )
        for n in range(instances)
    ]
    breaker = CircuitBreaker()

    def check() -> None:
        breaker.enter().ended(True)

    figures = {"breaker_us": _micros(check, count)}
    for strategy in ("round_robin", "least_loaded", "power_of_two", "consistent_hash"):
        balancer = LoadBalancer(_Nobody(), strategy)
        figures[f"{strategy}_us"] = _micros(_picks(balancer.pick, records), count)
    return figures


def _picks(choose: Callable[..., Any], records: Sequence[Any]) -> Callable[[], object]:
    return lambda: choose(records, "a key")


def _micros(call: Callable[[], object], count: int) -> float:
    call()
    means = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(count // ROUNDS):
            call()
        means.append((time.perf_counter() - begun) / (count // ROUNDS))
    return sorted(means)[ROUNDS // 2] * 1e6


class _Nobody:
    request_timeout = 30.0

    async def find_instances(self, target: Any) -> Any:
        raise AssertionError

    async def ask_instance(self, record: Any, payload: Any, attempt: Any) -> Any:
        raise AssertionError


def pools(loops: int, tasks: int) -> dict[str, float]:
    """Return the time of *tasks* pieces of work in processes over that in threads, and what a small one costs."""
    return run(_pools(loops, tasks))


async def _pools(loops: int, tasks: int) -> dict[str, float]:
    from shoal import AgentRuntime

    class Agent:
        async def execute_task(self, task: Any) -> dict[str, float]:
            from shoal.services.pools import Pool

            seconds = {}
            for kind in ("thread", "process"):
                pool = Pool(kind, kind=kind, min_size=0, max_size=2, max_queue=1000)
                await asyncio.gather(*(pool.run(_work, 100_000) for _ in range(2)))  # both are there
                begun = time.perf_counter()
                await asyncio.gather(*(pool.run(_work, loops) for _ in range(tasks)))
                seconds[kind] = time.perf_counter() - begun
                begun = time.perf_counter()
                for _ in range(SINGLE // tasks):
                    await pool.run(_work, 1)
                seconds[f"{kind}_ms"] = (time.perf_counter() - begun) / (SINGLE // tasks) * 1e3
                await pool.close()
            return seconds

    with folder() as path:
        async with AgentRuntime(store=f"sqlite:///{path}/shoal.db") as runtime:
            await runtime.register_agent("agent", Agent)
            await runtime.start_agent("agent")
            ended = await runtime.wait_for_task(await runtime.submit_task("pools", agent="agent"))
    seconds: Any = ended.output_data
    return {
        "share": seconds["process"] / seconds["thread"],
        "thread_ms": seconds["thread_ms"],
        "process_ms": seconds["process_ms"],
    }


def _work(loops: int) -> int:
    total = 0
    for number in range(loops):
        total += number * number % 7
    return total


MEASUREMENTS = (
    Measurement(
        name="services_pick",
        what="one of 100 instances chosen; a circuit breaker asked and told",
        figures={
            "round_robin_us": "round robin, us",
            "least_loaded_us": "least loaded, us",
            "power_of_two_us": "power of two, us",
            "consistent_hash_us": "consistent hash, us",
            "breaker_us": "breaker, us",
        },
        entries=(Entry("shoal", "benchmarks.services_pick:pick", ARGUMENTS),),
        bounds=(
            Bound("round_robin_us", "goal", most=5),
            Bound("least_loaded_us", "goal", most=30),
            Bound("breaker_us", "goal", most=2),
        ),
        quick={"count": 200},
    ),
    Measurement(
        name="services_pools",
        what="4 pieces of work with the processor in 2 processes, over the time of 2 threads; a piece that does nothing",
        figures={"share": "processes over threads", "thread_ms": "thread, ms", "process_ms": "process, ms"},
        entries=(Entry("shoal", "benchmarks.services_pick:pools", {"loops": 20_000_000, "tasks": 4}),),
        bounds=(Bound("share", "goal", most=0.6),),
        quick={"loops": 300_000},
        runs=2,
    ),
)
