"""The runtime beside which the command line is tested: ``python cli_node.py FILE``; works until it is told to end."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from shoal import AgentRuntime, Task


async def work(task: Task) -> Any:
    """Sleep, fail, or give back the input; a cancellation is told."""
    if task.input_data.get("fail"):
        raise ValueError("as it was told")
    try:
        if seconds := task.input_data.get("sleep"):
            print(json.dumps({"sleeps": task.task_id}), flush=True)
            await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print(json.dumps({"ended": task.task_id}), flush=True)
        raise
    return task.input_data


async def main(file: str) -> None:
    async with AgentRuntime(file) as runtime:
        await runtime.register_agent("worker", work, capabilities=["any"], max_concurrent_tasks=4)
        await runtime.start_agent("worker")
        print(json.dumps({"node": runtime.node_id}), flush=True)
        await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
