"""A program that carries out one run, and prints its result as JSON: STORE LOG COMPOSITION RUN_ID [NUMBER WHEN]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from shoal import AgentRuntime
from shoal.kernel.budget import Budget
from shoal.testing import kill_at_nth
from tests.lifecycle.runs.compositions import COMPOSITIONS
from tests.lifecycle.runs.thinking import THINKING


async def main(store: str, log: str, composition: str, run_id: str, budget: str) -> None:
    async with AgentRuntime(store, config={"lease_seconds": 2, "durability": "normal"}) as runtime:
        limits = msgspec.json.decode(budget, type=Budget) if budget else None
        handle = runtime.run(
            (COMPOSITIONS | THINKING)[composition](Path(log)), "the task", run_id=run_id, budget=limits
        )
        result = await handle
        usage = msgspec.to_builtins(handle.usage)
        print(msgspec.json.encode({"result": msgspec.to_builtins(result), "usage": usage}).decode(), flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) > 5:
        kill_at_nth(int(arguments[5]), arguments[6])  # type: ignore[arg-type]
    asyncio.run(main(*arguments[:5]))
