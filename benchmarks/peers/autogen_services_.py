"""autogen-core: requests in one process, in turn to agents of three types."""

from __future__ import annotations

import itertools

from autogen_core import AgentId, SingleThreadedAgentRuntime

from benchmarks.common import run
from benchmarks.peers.autogen_ import Echo, Said
from benchmarks.services_requests import INSTANCES, TEXT, measured

__all__ = ["inside"]


def inside(count: int, alone: int) -> dict[str, float]:
    """Return the rate of many callers, and what one alone waits."""
    return run(_inside(count, alone))


async def _inside(count: int, alone: int) -> dict[str, float]:
    runtime = SingleThreadedAgentRuntime()
    turns = []
    for number in range(INSTANCES):
        await Echo.register(runtime, f"echo-{number}", lambda: Echo("echo"))
        turns.append(AgentId(f"echo-{number}", "default"))
    runtime.start()
    turn = itertools.cycle(turns)
    figures = await measured(lambda: runtime.send_message(Said(TEXT), next(turn)), count, alone)
    await runtime.stop()
    return figures
