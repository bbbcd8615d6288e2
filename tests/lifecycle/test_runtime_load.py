"""Status and metrics while much is going on: quick, and true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime, Task, TaskSpec, TaskStatus
from tests.support.runtimes import UNLIMITED, running

Run = Callable[..., Any]
GUARD = 10  # what the figures of a benchmark are multiplied by in a test
LASTS = 3.0


async def short(task: Task) -> str:
    await asyncio.sleep(0.002)
    if task.name == "bad":
        raise ValueError("as asked")
    return task.name


class Watched:
    """What is known from outside of how far the work is, and what the runtime says of it."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.true_at: list[tuple[float, int]] = []  # when so many had really ended

    def ended_by(self, moment: float) -> int:
        return max((number for at, number in self.true_at if at <= moment), default=0)


async def look(runtime: AgentRuntime, watched: Watched, agents: int) -> None:
    """Ask for the status as a dashboard does, and hold the answer against what is known."""
    while True:
        asked = time.monotonic()
        queue, metrics, all_agents = runtime.get_queue_status(), runtime.get_metrics(), runtime.list_agents()
        watched.took.append(time.monotonic() - asked)
        said = int(queue["completed_count"] or 0) + int(queue["failed_count"] or 0)
        assert watched.ended_by(asked - 1) <= said <= watched.ended_by(time.monotonic()) + 2 * agents * 4
        assert watched.ended_by(asked - 1) <= metrics["completed_tasks"] + metrics["failed_tasks"]
        assert {agent.status for agent in all_agents} == {"running"} and len(all_agents) == agents
        await asyncio.sleep(0.1)


@pytest.mark.spec("R46")
def test_status_is_quick_and_true_under_load(store_url: str, run: Run) -> None:
    async def main() -> None:
        watched, ended, agents = Watched(), 0, 5

        async def counted(task: Task) -> str:
            nonlocal ended
            try:
                return await short(task)
            finally:
                ended += 1
                watched.true_at.append((time.monotonic(), ended))

        sources = {f"w{n}": counted for n in range(agents)}
        async with running(store_url, sources, options={"max_concurrent_tasks": 4}, limits=UNLIMITED) as runtime:
            looking = asyncio.create_task(look(runtime, watched, agents))
            end = time.monotonic() + LASTS
            ids: list[str] = []
            while time.monotonic() < end:
                ids += await runtime.submit_tasks([TaskSpec(name="x") for _ in range(50)])
                while len(ids) - ended >= 200:
                    await asyncio.sleep(0.002)
            assert {task.status for task in await runtime.wait_for_tasks(ids)} == {TaskStatus.COMPLETED}
            assert not looking.done(), looking.exception()
            looking.cancel()
            assert len(watched.took) >= 10
            assert max(watched.took) < 1
            assert sorted(watched.took)[int(len(watched.took) * 0.95)] < 0.01 * GUARD

    run(main)


@pytest.mark.spec("R46")
def test_metrics_are_what_a_hand_counts(store_url: str, run: Run) -> None:
    """Counted from the records that callers see; nothing of it needs an extra."""

    async def main() -> None:
        async with running(store_url, {"a": short, "b": short}, limits=UNLIMITED) as runtime:
            before = runtime.get_metrics()
            assert {key: value for key, value in before.items() if key.endswith("_tasks")} == {
                "total_tasks": 0, "completed_tasks": 0, "failed_tasks": 0, "pending_tasks": 0, "retried_tasks": 0,
            }  # fmt: skip
            assert before["avg_task_duration_seconds"] == before["p95_task_duration_seconds"] == 0
            ids = [await runtime.submit_task("good") for _ in range(40)]
            ids += [await runtime.submit_task("bad") for _ in range(3)]
            ids.append(await runtime.submit_task("bad", max_retries=1))
            done = await runtime.wait_for_tasks(ids)
            await runtime.submit_task("later", delay_seconds=3600)
            ears = await runtime.register_agent("ear", lambda task: None)
            metrics = runtime.get_metrics()
            durations = sorted(
                (task.completed_at - task.started_at).total_seconds()
                for task in done
                if task.status is TaskStatus.COMPLETED and task.completed_at and task.started_at
            )
            counts = {key: metrics[key] for key in ("total_tasks", "completed_tasks", "failed_tasks", "retried_tasks")}
            assert counts == {"total_tasks": 45, "completed_tasks": 40, "failed_tasks": 4, "retried_tasks": 1}
            assert (metrics["pending_tasks"], metrics["total_agents"], metrics["running_agents"]) == (1, 3, 2)
            assert all(type(value) is int for value in counts.values())
            assert metrics["avg_task_duration_seconds"] == pytest.approx(sum(durations) / 40)
            assert metrics["p95_task_duration_seconds"] == pytest.approx(durations[int(0.95 * 40)])
            assert 0 < metrics["uptime_seconds"] < 60 and metrics["memory_mb"] > 0
            assert metrics["messages_sent"] == metrics["avg_message_latency_ms"] == metrics["dead_letters"] == 0
            assert metrics["abandoned_attempts"] == 0 and 0 <= metrics["cpu_load"] <= 1
            assert runtime.get_agent_status(ears).status == "stopped"

    run(main)
