"""A node in a process of its own: ``node.py URL NODE VERB``."""

from __future__ import annotations

import asyncio
import sys
import time

from shoal.bus import open_bus
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere


async def main(url: str, node: str, verb: str) -> None:
    bus = open_bus(url, clock=RealClock())
    await bus.start(node)
    if verb == "say":
        await attached_everywhere([bus], "inbox")
        for first in range(0, 10_000, 500):
            await asyncio.gather(*(bus.send("inbox", a_message(first + n)) for n in range(500)))
        print("said", flush=True)
    bus.attach(f"silent-{node}", Inbox())
    bus.attach(f"echo-{node}", Replier(lambda asked: asked.data))
    bus.attach(f"size-{node}", Replier(lambda asked: len(asked.data)))
    bus.attach(f"block-{node}", Replier(lambda asked: time.sleep(asked.data)))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
