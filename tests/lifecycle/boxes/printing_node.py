"""A runtime with agents that print: ``python printing_node.py FILE LEVEL``; works until it is told to end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from shoal import AgentRuntime, BoxLimits, BoxSpec, Task


async def prints(task: Task) -> Any:
    """Print the lines that it was given, then end as it was told."""
    import os

    for stream, text in task.input_data["lines"]:
        print(text, file=sys.stderr if stream == "stderr" else sys.stdout)
    if size := task.input_data.get("long"):
        print("y" * size)
    for number in range(task.input_data.get("count", 0)):
        print(f"line {number} " + "x" * 90)
    if task.input_data.get("dies") and task.attempt == 1:
        os.write(1, b"last words")
        os._exit(3)
    return True


async def main(file: str, level: Any) -> None:
    async with AgentRuntime(file) as runtime:
        limits = BoxLimits(log_lines=400, log_mib=1)
        box: dict[str, Any] = {} if level == "process" else {"box": BoxSpec(limits=limits)}
        await runtime.register_agent("printer", prints, isolation=level, **box)
        await runtime.register_agent("other", prints, isolation="inline")
        await runtime.start_agent("printer")
        print(json.dumps({"agent": runtime.get_agent_status("printer").agent_id}), flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads what it passes on
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
