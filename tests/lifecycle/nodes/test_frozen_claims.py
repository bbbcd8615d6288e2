"""A node that is stopped in the midst of a claim, for longer than its lease: no task runs twice, and none is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Task
from tests.support.processes import Script, script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "frozen_node.py"
LEASE = 1.0
FAR = 120.0


async def _stopped(node: Script, runtime: AgentRuntime) -> str:
    """Submit tasks until the node is stopped with one; return the id of that."""
    hears = asyncio.ensure_future(asyncio.to_thread(node.hear))
    while True:
        task_id = await runtime.submit_task("x", {}, capability="work")
        done = asyncio.ensure_future(runtime.wait_for_task(task_id))
        await asyncio.wait([hears, done], return_when=asyncio.FIRST_COMPLETED)
        if "stops" in await hears:
            done.cancel()
            return task_id
        hears = asyncio.ensure_future(asyncio.to_thread(node.hear))
        await done


def _kinds(runtime: AgentRuntime, task_id: str) -> list[str]:
    return [str(event.event_type) for event in runtime.query_events(task_id=task_id)]


@pytest.mark.parametrize("claimed", ["meanwhile", "afterwards"])
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_claim_that_a_frozen_node_goes_on_with(postgres_url: str, run: Run, point: str, claimed: str) -> None:
    begun: list[int] = []

    async def work(task: Task) -> int:
        begun.append(task.attempt)
        return task.attempt

    async def main() -> None:
        async with running(postgres_url, lease_seconds=LEASE, poll_seconds=0.2) as runtime:
            with script(SCRIPT, postgres_url, str(LEASE), point) as node:
                await asyncio.to_thread(node.hear)
                task_id = await _stopped(node, runtime)
                await until(lambda: runtime.query_events("node_lost"))
                agent_id = await runtime.register_agent("other", work, capabilities=["work"])
                if claimed == "meanwhile":
                    await runtime.start_agent(agent_id)
                    await runtime.wait_for_task(task_id, 30)
                node.signal(signal.SIGCONT)
                assert await asyncio.to_thread(node.hear) == {"lost": True}
                await runtime.start_agent(agent_id)
                done = await runtime.wait_for_task(task_id, 30)
                attempt = 1 if point == "before_commit" else 2
                assert (done.attempt, done.output_data, begun) == (attempt, attempt, [attempt])
                assert _kinds(runtime, task_id).count("task_completed") == 1
                counts = runtime.store.tasks.counts()
                assert (counts["pending"], counts["running"]) == (0, 0)

    run(main)


def test_a_node_that_nobody_gave_up_goes_on_with_its_claim(postgres_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(postgres_url, lease_seconds=FAR, poll_seconds=0.2) as runtime:
            with script(SCRIPT, postgres_url, str(LEASE), "after_commit") as node:
                await asyncio.to_thread(node.hear)
                task_id = await _stopped(node, runtime)
                (frozen,) = (each for each in runtime.store.leases.nodes() if each.name == "frozen")
                await until(lambda: runtime.store.clock.now() > frozen.lease_until)
                node.signal(signal.SIGCONT)
                assert await asyncio.to_thread(node.hear) == {"begins": "x", "attempt": 1}
                assert (await runtime.wait_for_task(task_id, 30)).attempt == 1
                node.tell("end")

    run(main)
