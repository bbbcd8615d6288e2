"""Agents of a team that are registered, each where it is at home; as a program (STORE FOLDER) the node of ``far``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from shoal import AgentRuntime

CONFIG = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


class Worker:
    """Answers, or hangs when it is told to in the task."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._folder = Path(config["folder"]) if config else None

    async def chat(self, message: str) -> str:
        if "hang" in message:
            if self._folder is not None:
                (self._folder / "pid.tmp").write_text(str(os.getpid()))
                (self._folder / "pid.tmp").rename(self._folder / "pid")
            await asyncio.get_running_loop().create_future()
        return f"- done by {type(self).__name__}"


async def main(store: str, folder: str) -> None:
    async with AgentRuntime(store, config=CONFIG) as runtime:
        await runtime.register_agent("far", Worker, {"folder": folder})
        await runtime.start_agent("far")
        print("ready", flush=True)
        await runtime.serve()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
