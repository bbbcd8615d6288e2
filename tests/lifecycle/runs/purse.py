"""A node of agents who spend: their model costs what it likes within its bounds, and writes down what it really cost.

As a program (STORE LOG AGENTS SEED KILL_AT) it registers them, says ``ready``, and serves, until call number KILL_AT
kills it; 0: none does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from shoal import Agent, AgentRuntime, ResourceLimit
from shoal.kernel.usage import Usage
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest, ToolCall

SHORT = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}
PER_OUTPUT_TOKEN = 10
MOST_OUTPUT = 1000
CALLS = 2  # of each agent, if the budget lets it
_calls = itertools.count(1)
_kill_at = 0


class Spendthrift:
    """A model that asks for a tool first, and then answers."""

    name = "spendthrift"

    def __init__(self, log: Path, seed: int) -> None:
        self._log = log
        self._seed = seed

    async def request(self, request: ModelRequest) -> ModelReply:
        chance = random.Random(f"{self._seed}/{request.agent_name}/{request.ordinal}")
        await asyncio.sleep(chance.random() * 0.02)
        assert request.max_tokens is not None
        usage = Usage(calls=1, input_tokens=1, output_tokens=chance.randint(1, request.max_tokens))
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{request.agent_name} {self.price(usage)}\n".encode())
        os.close(file)
        if next(_calls) == _kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if request.ordinal % CALLS == 0:
            return ModelReply(tool_calls=(ToolCall(call_id="l", name="look"),), usage=usage, finish_reason="tool_calls")
        return ModelReply(text=f"{request.agent_name} has looked", usage=usage)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        yield await self.request(request)

    def price(self, usage: Usage) -> int:
        return usage.input_tokens + PER_OUTPUT_TOKEN * usage.output_tokens


def look() -> str:
    """Look around."""
    return "nothing to be seen"


def spender(name: str, log: Path, seed: int) -> Agent[Any]:
    return Agent(name=name, model=Spendthrift(log, seed), tools=[look], max_tokens=MOST_OUTPUT)


class Far:
    """A spender for a registry."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._agent = spender(config["name"], Path(config["log"]), config["seed"])

    async def chat(self, message: str, user_id: str = "default") -> Any:
        return await self._agent.chat(message, user_id)


async def _main(store: str, log: str, agents: str, seed: str, kill_at: str) -> None:
    global _kill_at
    _kill_at = int(kill_at)
    limits = ResourceLimit(max_concurrent_agents=100)
    async with AgentRuntime(store, limits, config=SHORT) as runtime:
        for number in range(int(agents)):
            name = f"far{number}"
            await runtime.register_agent(name, Far, {"name": name, "log": log, "seed": int(seed)})
            await runtime.start_agent(name)
        print("ready", flush=True)
        await runtime.serve()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
