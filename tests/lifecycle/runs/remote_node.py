"""A node with the agent ``far`` (STORE LOG), or one whose run asks the agent of another node (STORE LOG ask)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from shoal import AgentRuntime
from shoal.orchestration import Pipeline
from tests.lifecycle.runs.compositions import Logged, Upper

SHORT = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


async def main(store: str, log: str, role: str = "serve") -> None:
    async with AgentRuntime(store, config=SHORT) as runtime:
        if role == "serve":
            await runtime.register_agent("far", Upper, {"log": log})
            await runtime.start_agent("far")
            print("ready", flush=True)
            await runtime.serve()
        else:
            asking = Pipeline([Logged("a", Path(log)), runtime.agent("far")], step_timeout=None, name="asking")
            print((await runtime.run(asking, "wait", run_id="r")).content, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
