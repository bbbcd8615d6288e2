"""A node in a process of its own: ``working_node.py JSON``, whose keys are those of ``Plan``. It says what it does."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec

from shoal import AgentContext, AgentRuntime, BaseAgent, ResourceLimit, Task
from shoal.orchestration import Pipeline
from shoal.services import AgentInfo, ServiceAgent


class Plan(msgspec.Struct, kw_only=True):
    """What this node is to do. ``history`` is a file to which all nodes add lines."""

    store: str
    name: str
    history: str
    bus: str | None = None
    workers: int = 0
    singleton: str = ""
    service: bool = False
    version: str = "1.0"
    pattern: bool = False
    pause: float = 0.002
    crowd: int = 0
    lease: float = 10.0


PLAN = msgspec.json.decode(sys.argv[1], type=Plan)


def note(**what: Any) -> None:
    """Add a line to the history, whole or not at all."""
    line = msgspec.json.encode({"node": PLAN.name, **what}) + b"\n"
    file = os.open(PLAN.history, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class Worker(BaseAgent):
    """Notes the begin and the end of each task."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        number = task.input_data["number"]
        note(begin=number)
        await asyncio.sleep(task.input_data.get("pause", PLAN.pause))
        note(end=number)
        return {"number": number}


class Counter(BaseAgent):
    """Counts its messages, and keeps the count."""

    count = 0

    async def on_start(self) -> None:
        note(alive=self.name)

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.count = state["count"]

    async def on_message(self, message: Any) -> dict[str, Any]:
        self.count += 1
        await self.context.checkpoint({"count": self.count})
        return {"count": self.count, "node": PLAN.name}


class Greeter(ServiceAgent):
    """Answers after a while with its version."""

    def info(self) -> AgentInfo:
        return AgentInfo("greeter", ("greeting",), version=PLAN.version)

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(payload.get("pause", 0))
        return {"version": PLAN.version}


class Stage:
    """A step of a run, which is noted."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def chat(self, message: str) -> str:
        note(begin=self.name)
        await asyncio.sleep(PLAN.pause)
        note(end=self.name)
        return f"{message} {self.name}"


def stages() -> Pipeline:
    """Return the pattern that all nodes have."""
    return Pipeline([Stage(f"s{number}") for number in range(6)], name="stages")


async def idle(task: Task, context: AgentContext) -> None:
    """Do nothing."""


async def main() -> None:
    limits, config = ResourceLimit(max_concurrent_agents=None), {"lease_seconds": PLAN.lease}
    runtime = AgentRuntime(None, limits, config, store=PLAN.store, bus=PLAN.bus, node=PLAN.name)
    await runtime.start()
    for number in range(PLAN.crowd):
        await runtime.start_agent(await runtime.register_agent(f"idle-{PLAN.name}-{number}", idle))
    for number in range(PLAN.workers):
        name = f"worker-{PLAN.name}-{number}"
        agent = await runtime.register_agent(name, Worker, capabilities=["work"], max_concurrent_tasks=4)
        await runtime.start_agent(agent)
    if PLAN.singleton:
        await runtime.start_agent(await runtime.register_agent(PLAN.singleton, Counter, singleton=True))
    if PLAN.service:
        await runtime.services.start(Greeter, {}, instance=f"greeter-{PLAN.name}")
    if PLAN.pattern:
        runtime.runs.register("stages", stages)
    print(msgspec.json.encode({"ready": runtime.node_id}).decode(), flush=True)
    await runtime.serve()
    print('{"ended": true}', flush=True)


asyncio.run(main())
