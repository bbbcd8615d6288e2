"""A node that is stopped while it starts an agent that lives once, before ``on_start``: ``frozen_start.py STORE BUS LEASE``.

BUS may be empty. It says what its agent does, and what becomes of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from shoal import AgentRuntime, BaseAgent, Task
from shoal.errors import ShoalError


def say(**what: Any) -> None:
    """Say something in one line."""
    print(json.dumps(what), flush=True)


class One(BaseAgent):
    """Stops its process when it is made."""

    def __init__(self) -> None:
        say(stops=True)
        os.kill(os.getpid(), signal.SIGSTOP)

    async def on_start(self) -> None:
        say(starts=True)

    async def execute_task(self, task: Task) -> None: ...


async def main(url: str, bus: str, lease: float) -> None:
    """Start it, and say how that ended."""
    async with AgentRuntime(
        store=url, bus=bus or None, config={"lease_seconds": lease, "poll_seconds": 0.2}
    ) as runtime:
        agent_id = await runtime.register_agent("one", One, singleton=True)
        try:
            await runtime.start_agent(agent_id)
        except ShoalError as error:
            say(refused=type(error).__name__)


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
