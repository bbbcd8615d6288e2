"""Runtimes for tests: started with agents, stopped at the end; and waiting for facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shoal import AgentRuntime, ResourceLimit
from shoal.kernel.ports import Clock

__all__ = ["UNLIMITED", "count", "queue_state", "running", "until"]

UNLIMITED = ResourceLimit(max_task_queue_size=None, max_concurrent_agents=None)


@asynccontextmanager
async def running(
    url: str,
    agents: Mapping[str, Any] | None = None,
    *,
    limits: ResourceLimit | None = None,
    clock: Clock | None = None,
    options: Mapping[str, Any] | None = None,
    **config: object,
) -> AsyncIterator[AgentRuntime]:
    """Run a runtime on *url* with *agents* (by name), each registered with *options* and started."""
    async with AgentRuntime(store=url, resource_limits=limits, config=config, clock=clock) as runtime:
        for name, source in (agents or {}).items():
            await runtime.register_agent(name, source, **(options or {}))
            await runtime.start_agent(name)
        yield runtime


async def until(fact: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until *fact* returns something true."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.002)


def queue_state(runtime: AgentRuntime) -> tuple[dict[str, Any], int]:
    """Return how many tasks stand where, and the newest event: what a refused call must leave as it was."""
    return runtime.get_queue_status(), runtime.store.events.last_id()


def count(runtime: AgentRuntime, status: str) -> int:
    """Return how many tasks are pending, running, completed, failed or cancelled."""
    return runtime.store.tasks.counts()[status]
