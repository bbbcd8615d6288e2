"""A program that carries out the run of one team, and prints its report as JSON: STORE LOG TEAM RUN_ID BUDGET."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from shoal import AgentRuntime
from shoal.kernel.budget import Budget
from tests.lifecycle.workflow.coders import CODERS
from tests.lifecycle.workflow.teams import TEAMS, Setting

CONFIG = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


async def main(store: str, log: str, name: str, run_id: str, budget: str = "") -> None:
    async with AgentRuntime(store, config=CONFIG) as runtime:
        team, task = (TEAMS | CODERS)[name](Setting(runtime, Path(log)))
        limits = msgspec.json.decode(budget, type=Budget) if budget else None
        handle = runtime.run(team, task, run_id=run_id, budget=limits)
        report = await handle
        said = {"result": msgspec.to_builtins(report), "usage": msgspec.to_builtins(handle.usage)}
        print(msgspec.json.encode(said).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
