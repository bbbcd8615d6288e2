"""Buses here, and nodes in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from shoal.bus import open_bus
from shoal.bus.members import Members
from shoal.bus.node import NodeBus
from shoal.kernel.clock import RealClock

__all__ = ["links", "node", "process"]

_NODE = Path(__file__).with_name("node.py")


@contextlib.asynccontextmanager
async def node(url: str, name: str) -> AsyncIterator[NodeBus]:
    """Give a started bus."""
    bus = open_bus(url, clock=RealClock())
    assert isinstance(bus, NodeBus)
    await bus.start(name)
    try:
        yield bus
    finally:
        await bus.stop()


@contextlib.asynccontextmanager
async def process(url: str, name: str, verb: str = "serve") -> AsyncIterator[asyncio.subprocess.Process]:
    """Give a node that is ready; it has ``silent-NAME``, ``echo-NAME`` and ``size-NAME``."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(_NODE), url, name, verb, stdout=asyncio.subprocess.PIPE
    )
    try:
        if verb == "serve":
            assert child.stdout is not None
            assert await child.stdout.readline() == b"ready\n"
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def links(bus: NodeBus) -> Members:
    """Return the links of a started bus."""
    assert isinstance(bus._peers, Members)
    return bus._peers
