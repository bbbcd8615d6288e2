"""A node to which bad things are done: ``chaos_node.py JSON``, whose keys are those of ``Plan``.

Whatever it does that cannot be undone it adds to the diary, a file which all nodes and their tormentor write together: one
line, one write. Its times are those of the machine's monotonic clock, whatever this node thinks the time is.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from shoal import AgentRuntime, BaseAgent, ResourceLimit, Task, get_lock
from shoal.errors import AgentNameTakenError, LeaseLostError, ShoalError
from shoal.kernel import node as node_module
from shoal.kernel import takeover
from shoal.kernel.clock import RealClock

STEPS = 4
TICKS = 6
LANES = 3
LOCK_TTL_SECONDS = 2.0


class Plan(msgspec.Struct, kw_only=True):
    """What this node is. ``diary``: the file; ``quiet``: a file that lets it say no more when it is there; ``skew``: by how
    many seconds its wall clock is ahead; ``listeners``: the agents it talks to, its own among them."""

    store: str
    bus: str
    name: str
    diary: str
    quiet: str
    listeners: list[str]
    lease: float = 2.0
    skew: float = 0.0


PLAN = msgspec.json.decode(sys.argv[1], type=Plan)
DIARY = os.open(PLAN.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
life = ""


def note(kind: str, **what: Any) -> None:
    """Add a line to the diary, whole or not at all."""
    line = {"at": time.monotonic(), "kind": kind, "node": PLAN.name, "life": life, **what}
    os.write(DIARY, msgspec.json.encode(line) + b"\n")


class SkewedClock(RealClock):
    """A machine whose wall clock is wrong."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=PLAN.skew)

    def micros(self) -> int:
        return super().micros() + round(PLAN.skew * 1_000_000)


class Worker(BaseAgent):
    """Does tasks of each kind. What it did is in the diary before anybody else hears of it."""

    async def execute_task(self, task: Task) -> Any:
        note("begin", task=task.task_id, attempt=task.attempt, work=task.input_data["work"])
        value = await getattr(self, task.input_data["work"])(task)
        note("end", task=task.task_id, attempt=task.attempt)
        return value

    async def plain(self, task: Task) -> int:
        await asyncio.sleep(task.input_data["pause"])
        return task.attempt

    async def steps(self, task: Task) -> dict[str, str]:
        done: dict[str, str] = {}
        for number in range(STEPS):
            key = f"step {number}"

            async def effect(key: str = key) -> str:
                value = f"{key} of attempt {task.attempt} in {life}"
                note("step", task=task.task_id, attempt=task.attempt, key=key, value=value)
                await asyncio.sleep(task.input_data["pause"] / STEPS)
                return value

            done[key] = await self.context.step(key, effect)
            note("recorded", task=task.task_id, attempt=task.attempt, key=key, value=done[key])
        return done

    async def guarded(self, task: Task) -> int:
        """Ask the store before each effect: whoever lost his lease is refused."""
        for number in range(TICKS):
            await self.context.progress(number / TICKS)
            note("tick", task=task.task_id, attempt=task.attempt)
            await asyncio.sleep(task.input_data["pause"] / TICKS)
        return task.attempt

    async def locked(self, task: Task) -> int:
        lock = get_lock("chaos", "one", 60, ttl=LOCK_TTL_SECONDS)
        await lock.acquire()
        token = lock.token
        note("took", task=task.task_id, attempt=task.attempt, token=token)
        try:
            await asyncio.sleep(min(0.05, task.input_data["pause"]))
        finally:
            with suppress(LeaseLostError):
                if lock.token == token:
                    note("gave", task=task.task_id, attempt=task.attempt, token=token)
                await lock.release()
        return token


class Listener(BaseAgent):
    """Hears what is said to it."""

    async def on_message(self, message: Any) -> None:
        note("heard", message=message.message_id, durable=message.durable, to=self.name, **message.data)
        await asyncio.sleep(0.002)


async def talk(runtime: AgentRuntime) -> None:
    """Say numbers to every listener, each second one for keeps, until the quiet."""
    number = 0
    while not Path(PLAN.quiet).exists():
        number += 1
        for name in PLAN.listeners:
            durable = number % 2 == 0
            said = {"sender": life, "number": number}
            try:
                message = await runtime.send_message([name], "say", said, durable=durable)
            except ShoalError:
                continue  # not acknowledged
            note("said", message=message, durable=durable, to=name, **said)
        await asyncio.sleep(0.05)


async def take_up(runtime: AgentRuntime, name: str, agent: type[BaseAgent], **options: Any) -> None:
    """Register and start an agent, as soon as its last life is known to be over and the servers are there."""
    while True:
        try:
            await runtime.start_agent(await runtime.register_agent(name, agent, **options))
            return
        except AgentNameTakenError:
            await asyncio.sleep(0.05)


async def main() -> None:
    global life
    machine = f"machine of {PLAN.name} {time.monotonic()}"  # alone on its own: only its lease tells that it is dead
    for module in (node_module, takeover):
        vars(module)["this_boot"] = lambda: machine
    limits = ResourceLimit(max_concurrent_agents=None, max_task_queue_size=None, message_queue_max_size=None)
    config = {"lease_seconds": PLAN.lease, "poll_seconds": 0.25, "max_interruptions": 1000}
    runtime = AgentRuntime(None, limits, config, store=PLAN.store, bus=PLAN.bus, clock=SkewedClock())
    life = runtime.node_id
    async with runtime:
        await take_up(runtime, f"listener-{PLAN.name}", Listener)
        await take_up(runtime, f"worker-{PLAN.name}", Worker, max_concurrent_tasks=LANES)
        note("up")
        print(msgspec.json.encode(life).decode(), flush=True)
        talking = asyncio.create_task(talk(runtime))
        await runtime.serve()
        talking.cancel()
        await asyncio.wait([talking])
    note("down")


if __name__ == "__main__":
    asyncio.run(main())
