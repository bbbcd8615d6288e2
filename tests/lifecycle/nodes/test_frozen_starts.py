"""A node that is frozen for longer than its lease while it starts an agent that lives once: another has it by then."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal import AgentStatus, BaseAgent, Task
from tests.support.processes import script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "frozen_start.py"
LEASE = 1.0


class One(BaseAgent):
    """Lives on the node that goes on."""

    async def execute_task(self, task: Task) -> None: ...


def test_it_does_not_live_twice(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, lease_seconds=LEASE, poll_seconds=0.2) as runtime:
            with script(SCRIPT, store_url, os.environ.get("SHOAL_BUS", ""), str(LEASE)) as node:
                assert await asyncio.to_thread(node.hear) == {"stops": True}
                await until(lambda: runtime.query_events("node_lost"))
                agent_id = await runtime.register_agent("one", One, singleton=True)
                await runtime.start_agent(agent_id)
                node.signal(signal.SIGCONT)
                assert await asyncio.to_thread(node.hear) == {"refused": "LeaseLostError"}
                assert node.process.wait(30) is not None
                assert runtime.get_agent_status(agent_id).status is AgentStatus.RUNNING
                assert runtime.get_agent_status(agent_id).node_id == runtime.node_id

    run(main)
