"""A node to which bad things are done.

The program is ``python -m tests.lifecycle.chaos.chaos_node JSON``, whose keys are those of ``Plan``.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from shoal import AgentRuntime, BaseAgent, Budget, ResourceLimit
from shoal.errors import AgentNameTakenError, ShoalError, StoreError
from shoal.kernel import node as node_module
from shoal.kernel import takeover
from tests.lifecycle.chaos.agents import Keeper, Listener, Noting, Worker, errand
from tests.lifecycle.chaos.diary import STAGES, Diary, Plan
from tests.support.clocks import WrongClock

LANES = 3
BUDGETS = (None, Budget(max_calls=STAGES), Budget(max_calls=3 * STAGES))
TALK_SECONDS = 0.05
ERRAND_SECONDS = 0.4


class Load:
    """What a node does by itself, until the quiet."""

    def __init__(self, runtime: AgentRuntime, plan: Plan, diary: Diary) -> None:
        self._runtime = runtime
        self._plan = plan
        self._diary = diary
        self._quiet = Path(plan.quiet)

    async def talk(self) -> None:
        """Say numbers to every listener, each second one for keeps."""
        number = 0
        while not self._quiet.exists():
            number += 1
            for name in self._plan.listeners:
                await self._say(name, number)
            await asyncio.sleep(TALK_SECONDS)

    async def _say(self, name: str, number: int) -> None:
        durable = number % 2 == 0
        said = {"sender": self._diary.life, "number": number}
        try:
            message = await self._runtime.send_message([name], "say", said, durable=durable)
        except ShoalError:
            return  # not acknowledged
        self._diary.note("said", message=message, durable=durable, to=name, **said)

    async def run_errands(self) -> None:
        """Begin runs, with and without budgets. Nobody waits for them: whoever lives goes on with them."""
        number = 0
        while not self._quiet.exists():
            number += 1
            run_id = f"{self._diary.life}-{number}"
            try:
                handle = self._runtime.run(
                    errand(self._diary), "go", run_id=run_id, budget=BUDGETS[number % len(BUDGETS)]
                )
            except ShoalError:
                return  # the node leaves
            await handle.begun()
            if handle.live is not None:
                self._diary.note("run", run=run_id)
            await asyncio.sleep(ERRAND_SECONDS * random.uniform(0.5, 1.5))


async def take_up(runtime: AgentRuntime, name: str, agent: type[BaseAgent], **options: Any) -> None:
    """Register and start an agent, as soon as its last life is known to be over and the servers are there."""
    while True:
        try:
            await runtime.start_agent(await runtime.register_agent(name, agent, **options))
            return
        except (AgentNameTakenError, StoreError):
            await asyncio.sleep(0.05)


async def main(plan: Plan) -> None:
    """Be a node until SIGTERM."""
    machine = f"machine of {plan.name} {time.monotonic()}"  # alone on its own: only its lease tells that it is dead
    for module in (node_module, takeover):
        vars(module)["this_boot"] = lambda: machine
    limits = ResourceLimit(max_concurrent_agents=None, max_task_queue_size=None, message_queue_max_size=None)
    config = {"lease_seconds": plan.lease, "poll_seconds": 0.25, "max_interruptions": 1000}
    runtime = AgentRuntime(None, limits, config, store=plan.store, bus=plan.bus, clock=WrongClock(plan.skew))
    diary = Noting.diary = Diary(plan.diary, plan.name)
    diary.life = runtime.node_id
    load = Load(runtime, plan, diary)
    async with runtime:
        runtime.runs.register("errand", lambda: errand(diary))
        await take_up(runtime, f"listener-{plan.name}", Listener)
        await take_up(runtime, f"worker-{plan.name}", Worker, max_concurrent_tasks=LANES, capabilities=["work"])
        await take_up(runtime, "keeper", Keeper, singleton=True)
        diary.note("up")
        print(msgspec.json.encode(diary.life).decode(), flush=True)
        loads = [asyncio.create_task(load.talk()), asyncio.create_task(load.run_errands())]
        await runtime.serve()
        for each in loads:
            each.cancel()
        await asyncio.wait(loads)
    diary.note("down")


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
