"""A node that is killed while its agent is paused: ``python paused_node.py ROLE URL``. It says what it does."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from shoal import AgentRuntime, BaseAgent, Task

STATE: dict[str, Any] = {
    "text": 'quotes " and \\ and\nlines, ünïcödé and 🐟, and a zero \u0000',
    "numbers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 0.1, 1e308, 5e-324, -0.5],
    "nested": {"a": [[], {}, None, True, False, [{"b": [1, [2, [3]]]}]]},
    "long": "x" * 100_000,
    "": "an empty key",
}


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


class Keeper(BaseAgent):
    """Keeps a state over a pause and a crash, and the mail that came meanwhile."""

    async def on_pause(self) -> dict[str, Any]:
        return STATE

    async def on_resume(self, state: dict[str, Any]) -> None:
        await self.context.shared.set("resumed", json.dumps(state))

    async def execute_task(self, task: Task) -> Any:
        if task.name == "hold":
            await asyncio.sleep(600)
        return [m.data for m in await self.context.receive_messages()]


async def paused(url: str) -> None:
    """Pause an agent with a task and a message in hand, then wait to be killed."""
    async with AgentRuntime(url) as runtime:
        await runtime.register_agent("keeper", Keeper)
        await runtime.start_agent("keeper")
        task_id = await runtime.submit_task("hold")
        while runtime.get_task_status(task_id).status != "running":
            await asyncio.sleep(0.01)
        await runtime.pause_agent("keeper")
        say(task=task_id)
        await asyncio.sleep(600)


async def mail(url: str) -> None:
    """500 messages, some before and some during the pause; their time to live is one second."""
    async with AgentRuntime(url, config={"message_ttl_seconds": 1}) as runtime:
        await runtime.register_agent("keeper", Keeper)
        await runtime.start_agent("keeper")
        for number in range(200):
            await runtime.send_message(["keeper"], "note", number)
        await runtime.pause_agent("keeper")
        for number in range(200, 500):
            await runtime.send_message(["keeper"], "note", number)
        say(sent=500)
        await asyncio.sleep(600)


ROLES = {"paused": paused, "mail": mail}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2]))
