"""A node in a process of its own: ``node.py FOLDER NODE VERB``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from shoal.bus import open_bus
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier


async def main(folder: str, node: str, verb: str) -> None:
    bus = open_bus("local://", clock=RealClock(), folder=Path(folder))
    await bus.start(node)
    if verb == "ring":
        bus.ring("tasks", "from outside")
        await bus.stop()
        return
    bus.attach("silent", Inbox())
    bus.attach("echo", Replier(lambda asked: asked.data))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
