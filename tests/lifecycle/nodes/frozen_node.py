"""A node that is stopped in the midst of its first claim: ``frozen_node.py STORE LEASE POINT``.

POINT is ``before_commit``, between the look and the one statement, or ``after_commit``, before its answer is heard. It says
which tasks it begins, and what becomes of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from shoal import AgentRuntime, Task
from shoal.store.sql.claim import claim


def say(**what: Any) -> None:
    """Say something in one line."""
    print(json.dumps(what), flush=True)


async def work(task: Task) -> int:
    say(begins=task.name, attempt=task.attempt)
    return task.attempt


async def main(url: str, lease: float, point: str) -> None:
    """Begin, and stop when a task is being claimed."""
    async with AgentRuntime(store=url, config={"lease_seconds": lease, "poll_seconds": 0.2}, node="frozen") as runtime:
        database: Any = runtime.store.database  # type: ignore[attr-defined]
        write = database._lone._write
        claiming = False

        async def writing(trial: Any, gathered: Any, sole: Any) -> Any:
            nonlocal claiming
            claiming = trial.operation.fn is claim and sole.change is not None
            return await write(trial, gathered, sole)

        def stop(at: str) -> None:
            if claiming and at == point:
                database.faults = None
                say(stops=at)
                os.kill(os.getpid(), signal.SIGSTOP)

        database._lone._write, database.faults = writing, stop
        await runtime.start_agent(await runtime.register_agent("frozen", work, capabilities=["work"]))
        say(ready=runtime.node_id)
        env = runtime._here.env
        told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while not (env.lost or told.done()):
            await asyncio.sleep(0.01)
        say(lost=env.lost)


asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
