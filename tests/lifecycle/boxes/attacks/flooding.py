"""Boxes that flood, beside a pair that talks: ``python -m tests.lifecycle.boxes.attacks.flooding LEVEL COUNT``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from shoal.boxes import BoxLimits, BoxRuntime, BoxSpec
from shoal.boxes.box import Box
from shoal.errors import MailboxFullError
from tests.lifecycle.boxes.attacks.channel import HOSTILE, memory_mib

FLOODER = Path(__file__).with_name("flooder.py")
ASKS = 60


async def pair(runtime: BoxRuntime) -> Box:
    """A box that times its requests to another."""
    talker = await runtime.create_box("talker")
    for name in ("answerer", "sink"):
        box = await runtime.create_box(name)
        box.on_message(lambda sender, data: data)
        await box.run()

    @talker.on_message
    def times(sender: str, count: Any) -> Any:
        import time

        import shoal_guest

        taken = []
        for number in range(count):
            began = time.perf_counter()
            assert shoal_guest.send_message("answerer", number) == number
            taken.append(time.perf_counter() - began)
            time.sleep(0.005)
        return sorted(taken)[int(count * 0.95)]

    await talker.run()
    return talker


async def during(runtime: BoxRuntime, name: str, *args: str, script: Path = HOSTILE, whole: bool = False) -> Any:
    """Let a box flood while the pair talks, to its end where *whole*; what the pair and this process had of it."""
    box = await runtime.create_box(name)
    before, highest, slowest = memory_mib(), 0.0, 0.0
    await box.run_script(script, *args)
    while True:
        asked = asyncio.create_task(runtime.request("talker", ASKS, timeout=60))
        while not asked.done():
            await asyncio.sleep(0.02)
            highest = max(highest, memory_mib())
        slowest = max(slowest, await asked * 1000)
        if not whole or box.state != "running" or box.logs("stdout"):
            break
    published = box.stats().events_out
    await box.stop(grace=0.2)
    return {"p95_ms": slowest, "grown": highest - before, "published": published}


async def never_reads(runtime: BoxRuntime) -> dict[str, Any]:
    """Send to a box that reads nothing until its mailbox is full."""
    box = await runtime.create_box("silent", BoxSpec(limits=BoxLimits(mailbox_mib=4)))
    await box.run_script(HOSTILE, "silent")
    before, taken = memory_mib(), 0
    async with asyncio.timeout(30):
        while True:
            try:
                await runtime.send("silent", "x" * 10_000)
                taken += 1
            except MailboxFullError as error:
                full = str(error)
                break
            await asyncio.sleep(0)
    began = time.monotonic()
    await box.stop(grace=0.2)
    return {"taken": taken, "full": full, "grown": memory_mib() - before, "stopping": time.monotonic() - began}


async def main(level: str, count: str) -> dict[str, Any]:
    """One flood after the other."""
    async with BoxRuntime(level, logs="none") as runtime:
        await pair(runtime)
        await runtime.request("talker", 5)
        report = {
            "quiet": {"p95_ms": await runtime.request("talker", ASKS) * 1000},
            "frames": await during(runtime, "frames", "floods_and_reads", count, whole=True),
            "unread": await during(runtime, "unread", "floods", count),
            "lines": await during(runtime, "lines", "lines", count, script=FLOODER),
            "publishes": await during(runtime, "loop", "publishes", count, script=FLOODER),
            "threads": await during(runtime, "threads", "threads", count, script=FLOODER),
            "interpreter": await during(runtime, "holder", "holds", count, script=FLOODER),
            "silent": await never_reads(runtime),
        }
        report["afterwards"] = {"p95_ms": await runtime.request("talker", ASKS) * 1000}
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
