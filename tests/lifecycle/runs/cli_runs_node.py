"""A process that carries out one run (STORE KIND RUN_ID) and tells how it ended; it hears of others by their bells alone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from shoal import Agent, AgentRuntime, tool
from shoal.llm.doubles import scripted
from shoal.llm.model import ModelRequest, ToolCall
from shoal.orchestration import Pipeline
from tests.lifecycle.runs.compositions import Logged, gated

DEAF = {"lease_seconds": 60, "durability": "normal", "poll_seconds": 30}


@tool(approval=True)
def drop(table: str) -> str:
    """Drop a table."""
    return f"dropped {table}"


def careful() -> Pipeline:
    def told(request: ModelRequest) -> str:
        return f"it said: {request.messages[-1].content}"

    wish = ToolCall(call_id="c", name="drop", arguments='{"table": "users"}')
    agent: Agent[Any] = Agent(name="Admin", model=scripted([wish, told], cost=0.25), tools=[drop])
    return Pipeline([agent, Logged("last", Path("calls.log"), lambda message: message)], name="careful")


async def main(store: str, kind: str, run_id: str) -> None:
    async with AgentRuntime(store, config=DEAF) as runtime:
        pattern = careful() if kind == "careful" else gated(Path("calls.log").absolute())
        handle = runtime.run(pattern, "clean up", run_id=run_id)
        async for event in handle.events():
            if event.type == "approval_asked" or (kind == "gated" and event.path.startswith("1:")):
                print(json.dumps({"asks": event.data.get("id", "")}), flush=True)
                break
        result = await handle
        print(json.dumps({"content": result.content, "stopped": result.stopped, "error": result.error}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
