"""Deliveries of published messages to the handlers of subscribers in one process."""

from __future__ import annotations

import asyncio
import time

from benchmarks.common import folder, run
from benchmarks.measurement import Bound, Entry, Measurement

BURST = 500  # mailboxes hold 1,000: after each burst the publisher waits until all was handled
ARGUMENTS = {"count": 2000, "subscribers": 100}


def shoal(count: int, subscribers: int) -> dict[str, float]:
    """Return deliveries a second, until every handler has run."""
    return run(_shoal(count, subscribers))


async def _shoal(count: int, subscribers: int) -> dict[str, float]:
    from benchmarks.ours import begin, runtime
    from shoal.runtime import AgentContext, AgentMessage, BaseAgent, Task

    heard = expected = 0
    all_heard = asyncio.Event()

    class Listener(BaseAgent):
        async def on_start(self) -> None:
            await self.context.subscribe("news")

        async def on_message(self, message: AgentMessage) -> None:
            nonlocal heard
            heard += 1
            if heard == expected:
                all_heard.set()

    async def publisher(task: Task, context: AgentContext) -> float:
        nonlocal expected
        begun = time.perf_counter()
        for start in range(0, count, BURST):
            burst = range(start, min(start + BURST, count))
            expected += len(burst) * subscribers
            for number in burst:
                taken = await context.publish("news", number)
                assert taken == subscribers
            await all_heard.wait()
            all_heard.clear()
        return time.perf_counter() - begun

    with folder() as path:
        async with runtime(path) as here:
            for number in range(subscribers):
                await begin(here, f"listener-{number}", Listener)
            await begin(here, "publisher", publisher)
            task = await here.wait_for_task(await here.submit_task("publish", agent="publisher"), timeout_seconds=120)
            return {"per_s": count * subscribers / float(task.result())}


MEASUREMENTS = (
    Measurement(
        name="publish",
        what="publish to 100 subscribers in one process, until every handler has run",
        figures={"per_s": "deliveries/s"},
        entries=(
            Entry("shoal", "benchmarks.publish:shoal", ARGUMENTS),
            Entry("autogen-core", "benchmarks.peers.autogen_:publish", {**ARGUMENTS, "count": 200}),
        ),
        bounds=(
            Bound("per_s", "floor", least=5, against="autogen-core"),
            Bound("per_s", "goal", least=200_000),
            Bound("per_s", "goal", least=18, against="autogen-core"),
        ),
        quick={"count": 50},
    ),
)
