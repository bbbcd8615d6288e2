"""PostgreSQL or NATS is killed (SIGKILL) under two nodes and started again: how long until work flows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from benchmarks.common import percentile, run
from benchmarks.engines import Engines, engines
from benchmarks.measurement import Entry, Measurement
from benchmarks.node_rounds import WAIT_SECONDS
from benchmarks.nodes_failover import LEASE_SECONDS, answer
from benchmarks.nodes_tasks import runtime_on
from benchmarks.sides import Sides, say, until_alone

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime


def restarts(name: str, times: int) -> dict[str, float]:
    """Return how long after a server answers again a request to, and a task on, another node are done again."""
    with engines() as servers, Sides(__name__) as sides:
        where = {"store": servers.store, "bus": servers.bus}
        sides.begin("both", **where)
        return run(_restarts(servers, name, times, **where))


async def _restarts(servers: Engines, name: str, times: int, store: str, bus: str) -> dict[str, float]:
    requests, tasks = [], []
    async with runtime_on(store, bus, lease_seconds=LEASE_SECONDS) as here:
        for _ in range(times):
            await answer(here)
            before = [await here.submit_task("noop", capability="work") for _ in range(20)]
            await asyncio.to_thread(servers.kill, name)
            await asyncio.to_thread(servers.start, name)
            up = time.monotonic()
            answered, done = await asyncio.gather(_since(up, answer(here)), _since(up, _task_done(here)))
            requests.append(answered)
            tasks.append(done)
            for task in await here.wait_for_tasks(before, WAIT_SECONDS):
                task.result()
    return {
        "tasks_s": percentile(tasks, 0.5), "tasks_max_s": max(tasks),
        "requests_s": percentile(requests, 0.5), "requests_max_s": max(requests),
    }  # fmt: skip


async def _since(begun: float, wait: Awaitable[object]) -> float:
    await wait
    return time.monotonic() - begun


async def _task_done(here: AgentRuntime) -> None:
    from shoal.errors import ShoalError

    for _ in range(int(WAIT_SECONDS / 0.01)):
        try:
            (await here.wait_for_task(await here.submit_task("noop", capability="work"), WAIT_SECONDS)).result()
        except ShoalError:
            await asyncio.sleep(0.01)
        else:
            return
    raise TimeoutError(f"no task was taken for {WAIT_SECONDS:g} s")


def both(**where: Any) -> None:
    """Be a node that answers and works, until killed."""
    run(_both(**where))


async def _both(**where: Any) -> None:
    from benchmarks.ours import Noop, begin
    from shoal.runtime import AgentMessage

    class Both(Noop):
        async def on_message(self, message: AgentMessage) -> int:
            return os.getpid()

    async with runtime_on(**where, lease_seconds=LEASE_SECONDS) as here:
        await begin(here, "only", Both, capabilities=["work"], max_concurrent_tasks=16)
        say(pid=os.getpid())
        await until_alone()


MEASUREMENTS = (
    Measurement(
        name="nodes-restart",
        what="a server is killed under two nodes and started again: from its first answer until work flows again",
        figures={
            "tasks_s": "s until a task is done by another node (median)", "tasks_max_s": "s at most",
            "requests_s": "s until another node answers (median)", "requests_max_s": "s at most",
        },
        entries=tuple(
            Entry(f"shoal, {title} killed", "benchmarks.nodes_restarts:restarts", {"name": name, "times": 5})
            for name, title in (("postgres", "PostgreSQL"), ("nats", "NATS"))
        ),
        quick={"times": 1},
        runs=1,
    ),
)  # fmt: skip
