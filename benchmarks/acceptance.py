"""Figures of the acceptance lines that are no budget of their own, with nobody beside us."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.common import folder, percentile, resident_kb, run
from benchmarks.measurement import Bound, Entry, Measurement


def many_at_once() -> dict[str, float]:
    """R31, R9: 50 agents with one task of 1 s each; 100 tasks of random priorities on one agent."""
    return run(_many_at_once())


async def _many_at_once() -> dict[str, float]:
    from benchmarks.ours import Noop, begin, runtime
    from shoal.runtime import Task, TaskSpec

    async def sleeper(task: Task) -> None:
        await asyncio.sleep(1)

    with folder() as path:
        async with runtime(path) as here:
            names = [f"agent-{number}" for number in range(50)]
            for name in names:
                await begin(here, name, sleeper)
            begun = time.perf_counter()
            ids = await here.submit_tasks([TaskSpec(name="sleep", agent=name) for name in names])
            await here.wait_for_tasks(ids)
            fifty = time.perf_counter() - begun
            await begin(here, "one", Noop)
            begun = time.perf_counter()
            specs = [TaskSpec(name="noop", agent="one", priority=number * 37 % 101) for number in range(100)]
            await here.wait_for_tasks(await here.submit_tasks(specs))
            return {"fifty_s": fifty, "hundred_s": time.perf_counter() - begun}


def messages() -> dict[str, float]:
    """R32: direct messages, their rate among ten agents, a broadcast to ten."""
    return run(_messages())


async def _messages() -> dict[str, float]:
    from benchmarks.ours import begin, runtime
    from shoal.runtime import AgentContext, AgentMessage, BaseAgent, Task

    heard: list[float] = []
    bell = asyncio.Event()

    class Listener(BaseAgent):
        async def on_message(self, message: AgentMessage) -> None:
            heard.append(time.perf_counter())
            bell.set()

    async def all_heard(number: int) -> None:
        while len(heard) < number:
            bell.clear()
            await bell.wait()

    async def sender(task: Task, context: AgentContext) -> dict[str, float]:
        direct = []
        for number in range(1000):
            bell.clear()
            begun = time.perf_counter()
            await context.send_message(["listener-0"], "note", number)
            await bell.wait()
            direct.append(heard[-1] - begun)
        heard.clear()
        begun = time.perf_counter()
        for number in range(10_000):
            await context.send_message([f"listener-{number % 10}"], "note", number)
            if number % 100 == 99:
                await asyncio.sleep(0)
        await all_heard(10_000)
        rate = 10_000 / (time.perf_counter() - begun)
        broadcasts = []
        for _ in range(100):
            heard.clear()
            begun = time.perf_counter()
            await context.broadcast_message("note", 1)
            await all_heard(10)
            broadcasts.append(time.perf_counter() - begun)
        return {
            "direct_p95_ms": percentile(direct, 0.95) * 1e3, "per_s": rate,
            "broadcast_p95_ms": percentile(broadcasts, 0.95) * 1e3,
        }  # fmt: skip

    with folder() as path:
        async with runtime(path) as here:
            for number in range(10):
                await begin(here, f"listener-{number}", Listener)
            await begin(here, "sender", sender)
            task = await here.wait_for_task(await here.submit_task("send", agent="sender"), timeout_seconds=60)
            figures = task.result()
            assert isinstance(figures, dict)
            return figures


def looking() -> dict[str, float]:
    """R45, R46, R42: queries of 10,000 events, an export of 100,000, status under load, a watch on another node."""
    return run(_looking())


async def _looking() -> dict[str, float]:
    from benchmarks.ours import Noop, begin, runtime
    from shoal.runtime import EventType, TaskSpec

    with folder() as path:
        async with runtime(path) as here, runtime(path) as there:
            await here.submit_tasks([TaskSpec(name="queued", agent=None) for _ in range(10_000)])
            query = []
            for _ in range(100):
                begun = time.perf_counter()
                here.query_events(EventType.TASK_ENQUEUED, limit=100)
                query.append(time.perf_counter() - begun)
            for _ in range(9):
                await here.submit_tasks([TaskSpec(name="queued") for _ in range(10_000)])
            before = resident_kb()
            await here.export_events(path / "events.jsonl")
            growth = (resident_kb() - before) / 1024
            await begin(here, "worker", Noop, max_concurrent_tasks=64)
            status = []
            for _ in range(50):
                begun = time.perf_counter()
                here.get_agent_status("worker")
                here.get_queue_status()
                status.append(time.perf_counter() - begun)
                await asyncio.sleep(0.02)
            watch = await _watched(here, there)
            return {
                "query_p95_ms": percentile(query, 0.95) * 1e3, "export_mb": growth,
                "status_p95_ms": percentile(status, 0.95) * 1e3, "watch_p95_ms": percentile(watch, 0.95) * 1e3,
            }  # fmt: skip


async def _watched(here: object, there: object) -> list[float]:
    from shoal.runtime import AgentRuntime

    assert isinstance(here, AgentRuntime) and isinstance(there, AgentRuntime)
    seen: list[float] = []
    bell = asyncio.Event()

    async def watch() -> None:
        async for _ in there.shared.watch("bench/"):
            seen.append(time.perf_counter())
            bell.set()

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.5)
    seconds = []
    for number in range(30):
        bell.clear()
        begun = time.perf_counter()
        await here.shared.set("bench/key", number)
        await asyncio.wait_for(bell.wait(), 10)
        seconds.append(seen[-1] - begun)
    watching.cancel()
    await asyncio.wait([watching])
    return seconds


def death() -> dict[str, float]:
    """R28: how long after ``kill -9`` a process agent is back."""
    return run(_death())


async def _death() -> dict[str, float]:
    import os
    import signal

    from benchmarks.ours import Echo, begin, runtime

    with folder() as path:
        async with runtime(Path(path)) as here:
            await begin(here, "echo", Echo, isolation="process")
            await asyncio.sleep(1)
            seconds = []
            for _ in range(5):
                before = here.get_agent_status("echo")
                assert before.process_id is not None
                begun = time.perf_counter()
                os.kill(before.process_id, signal.SIGKILL)
                while True:
                    now = here.get_agent_status("echo")
                    if now.status == "running" and now.process_id not in (None, before.process_id):
                        break
                    await asyncio.sleep(0.005)
                seconds.append(time.perf_counter() - begun)
                await asyncio.sleep(1)
            return {"back_ms": percentile(seconds, 0.5) * 1e3}


MEASUREMENTS = (
    Measurement(
        name="many-at-once",
        what="50 agents with one task of 1 s each; 100 tasks, one after the other, on one agent",
        figures={"fifty_s": "s for the 50", "hundred_s": "s for the 100"},
        entries=(Entry("shoal", "benchmarks.acceptance:many_at_once"),),
        bounds=(Bound("fifty_s", "goal", most=1.5), Bound("hundred_s", "goal", most=1)),
    ),
    Measurement(
        name="mail",
        what="direct messages until handled; sent in bulk to 10 agents; broadcast to 10",
        figures={"direct_p95_ms": "p95 ms", "per_s": "messages/s", "broadcast_p95_ms": "broadcast p95 ms"},
        entries=(Entry("shoal", "benchmarks.acceptance:messages"),),
        bounds=(
            Bound("direct_p95_ms", "goal", most=1),
            Bound("per_s", "goal", least=10_000),
            Bound("broadcast_p95_ms", "goal", most=10),
        ),
    ),
    Measurement(
        name="looking",
        what="query of 10,000 events; growth while 100,000 are exported; status; shared value seen on another node",
        figures={
            "query_p95_ms": "query p95 ms", "export_mb": "MB", "status_p95_ms": "status p95 ms",
            "watch_p95_ms": "watch p95 ms",
        },
        entries=(Entry("shoal", "benchmarks.acceptance:looking"),),
        bounds=(
            Bound("query_p95_ms", "goal", most=100),
            Bound("export_mb", "goal", most=50),
            Bound("status_p95_ms", "goal", most=10),
            Bound("watch_p95_ms", "goal", most=100),
        ),
        runs=2,
    ),
    Measurement(
        name="death",
        what="a process agent killed with kill -9 until it is back",
        figures={"back_ms": "ms"},
        entries=(Entry("shoal", "benchmarks.acceptance:death"),),
        bounds=(Bound("back_ms", "goal", most=1000),),
        runs=2,
    ),
)  # fmt: skip
