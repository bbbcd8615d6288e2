"""Shoal's runtime as the measurements use it, and agents that do as little as can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoal.runtime import AgentMessage, AgentRuntime, BaseAgent, ResourceLimit, Task

NO_LIMITS = ResourceLimit(max_concurrent_agents=None, max_task_queue_size=None)


def runtime(path: Path, **config: object) -> AgentRuntime:
    """Return a runtime on a file in *path*, without limits on agents and queue."""
    return AgentRuntime(path / "shoal.db", NO_LIMITS, config={"launch_memory_limit": None, **config})


async def begin(runtime: AgentRuntime, name: str, source: Any, **options: Any) -> str:
    """Register and start an agent; return its id."""
    agent_id = await runtime.register_agent(name, source, **options)
    await runtime.start_agent(agent_id)
    return agent_id


class Noop(BaseAgent):
    """Does nothing, and says so."""

    async def execute_task(self, task: Task) -> dict[str, bool]:
        """Return a small result."""
        return {"ok": True}


class Echo(BaseAgent):
    """Answers with what it was asked."""

    async def on_message(self, message: AgentMessage) -> Any:
        """Return the question."""
        return message.data
