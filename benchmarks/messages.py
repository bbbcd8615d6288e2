"""Questions and answers between two agents in one process, one at a time."""

from __future__ import annotations

import time

from benchmarks.common import folder, run
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 10_000}


def shoal(count: int, message_events: str = "durable") -> dict[str, float]:
    """Return questions a second and what one takes."""
    return run(_shoal(count, message_events))


async def _shoal(count: int, message_events: str) -> dict[str, float]:
    from benchmarks.ours import Echo, begin, runtime
    from shoal.runtime import AgentContext, Task

    async def asker(task: Task, context: AgentContext) -> float:
        for _ in range(count // 10):
            await context.request("echo", "ask", 1)
        begun = time.perf_counter()
        for number in range(count):
            await context.request("echo", "ask", number)
        return count / (time.perf_counter() - begun)

    with folder() as path:
        async with runtime(path, message_events=message_events) as here:
            await begin(here, "echo", Echo)
            await begin(here, "asker", asker)
            task = await here.wait_for_task(await here.submit_task("ask", agent="asker"))
            return {"per_s": float(task.result()), "us": 1e6 / float(task.result())}


MEASUREMENTS = (
    Measurement(
        name="messages",
        what="request and reply between two agents in one process, one at a time",
        figures={"per_s": "requests/s", "us": "µs each"},
        entries=(
            Entry("shoal", "benchmarks.messages:shoal", ARGUMENTS),
            Entry(
                "shoal, all events", "benchmarks.messages:shoal", {**ARGUMENTS, "message_events": "all"},
                'message_events="all"',
            ),
            Entry("autogen-core", "benchmarks.peers.autogen_:messages", {"count": 3000}, "SingleThreadedAgentRuntime"),
            Entry("pykka", "benchmarks.peers.pykka_:messages", ARGUMENTS, "ThreadingActor"),
        ),
        bounds=(
            Bound("per_s", "floor", least=5, against="autogen-core"),
            Bound("per_s", "goal", least=30_000),
            Bound("us", "goal", most=25),
            Bound("per_s", "goal", least=9, against="autogen-core"),
            Bound("per_s", "goal", least=0.75, against="pykka"),
            Bound("per_s", "goal", least=15_000, of="shoal, all events"),
        ),
        quick={"count": 500},
    ),
)  # fmt: skip
