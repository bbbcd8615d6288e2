"""Programs that tests end by signals: ``python process_programs.py ROLE FILE``. They say what they do in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from shoal import AgentRuntime
from shoal.services import AgentProcessManager, MultiAgentProcess, ServiceAgent


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


class Counter(ServiceAgent):
    """Counts its requests, and saves the number."""

    count = 0

    def info(self) -> dict[str, Any]:
        return {"name": "counter", "capabilities": ["count"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        await self.context.checkpoint({"count": self.count})
        return {"count": self.count, "pid": os.getpid()}

    def on_resume(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Slow(ServiceAgent):
    """Answers late, and tells of its end."""

    def info(self) -> dict[str, Any]:
        return {"name": "slow", "capabilities": ["slow"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        say(began=self.context.name)
        await asyncio.sleep(payload["seconds"])
        return {"done": True}

    def on_stop(self) -> None:
        say(stopped=self.config["as"])


async def manager(file: str) -> None:
    """Three counters in processes, each asked once; then it waits for a signal."""
    async with AgentRuntime(file) as runtime:
        processes = AgentProcessManager(runtime, grace=2)
        names = await processes.start_agent_process(Counter, count=3)
        counts = [(await runtime.services.request(name, {}))["count"] for name in names]
        waiting = asyncio.create_task(processes.wait_for_shutdown())
        await asyncio.sleep(0)  # now it hears
        say(pids={name: info.pid for name, info in processes.processes.items()}, counts=counts)
        await waiting
        say(left=list(processes.processes))


async def two(file: str) -> None:
    """Two runtimes with a group of services each, of which one has something to do; both wait for a signal."""
    async with AgentRuntime(f"{file}_1") as first, AgentRuntime(f"{file}_2") as second:
        groups = [MultiAgentProcess(first), MultiAgentProcess(second)]
        for number, group in enumerate(groups):
            group.add_agent(Slow, {"as": number})
            await group.start_all()
        waiting = [asyncio.create_task(group.wait_for_shutdown()) for group in groups]
        work = asyncio.create_task(second.services.request("slow", {"seconds": float(sys.argv[3])}, timeout=60))
        await asyncio.sleep(0)  # now they hear
        say(names=[[record.name for record in runtime.services.records()] for runtime in (first, second)])
        await asyncio.gather(*waiting)
        say(answer=await work)


async def busy(file: str) -> None:
    """Two processes, one of which works for ever; it tells when it has begun to drain."""
    async with AgentRuntime(file) as runtime:
        processes = AgentProcessManager(runtime, grace=600)
        names = await processes.start_agent_process(Slow, 2, {"as": 0})
        work = asyncio.create_task(runtime.services.request(names[0], {"seconds": 600}, timeout=600))
        waiting = asyncio.create_task(processes.wait_for_shutdown())
        while not any(record.load for record in runtime.services.records()):
            await asyncio.sleep(0.01)
        say(pids=[info.pid for info in processes.processes.values()])
        while not any(record.state == "draining" for record in runtime.services.records()):
            await asyncio.sleep(0.01)
        say(draining=True)
        await asyncio.gather(waiting, work)


ROLES = {"manager": manager, "two": two, "busy": busy}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2]))
