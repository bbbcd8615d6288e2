"""Buses here, and nodes in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from shoal.bus import open_bus
from shoal.bus.members import Members
from shoal.bus.node import NodeBus
from shoal.kernel.clock import RealClock
from tests.support.busprocess import bus_process

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


def process(url: str, name: str, verb: str = "serve") -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Give a node that is ready; it has ``silent-NAME``, ``echo-NAME`` and ``size-NAME``."""
    return bus_process(_NODE, url, name, verb, serves=verb == "serve")


def links(bus: NodeBus) -> Members:
    """Return the links of a started bus."""
    assert isinstance(bus._peers, Members)
    return bus._peers
