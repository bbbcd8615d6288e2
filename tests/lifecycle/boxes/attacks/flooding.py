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
        return taken

    await talker.run()
    return talker


def p95_ms(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)] * 1000


async def during(runtime: BoxRuntime, name: str, *args: str, script: Path = HOSTILE, whole: bool = False) -> Any:
    """Let a box flood while the pair talks, to its end where *whole*; what the pair and this process had of it."""
    box = await runtime.create_box(name)
    before, highest = memory_mib(), 0.0
    taken: list[float] = []
    await box.run_script(script, *args)
    while True:
        asked = asyncio.create_task(runtime.request("talker", ASKS, timeout=60))
        while not asked.done():
            await asyncio.sleep(0.02)
            highest = max(highest, memory_mib())
        taken += await asked
        if not whole or box.state != "running" or box.logs("stdout"):
            break
    published = 0
    while whole and box.state == "running" and published != (published := box.stats().events_out):
        await asyncio.sleep(0.2)  # what it wrote before it printed is still on its way
    await box.stop(grace=0.2)
    return {"p95_ms": p95_ms(taken), "grown": highest - before, "published": published or box.stats().events_out}


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


async def never_reads_answers(runtime: BoxRuntime) -> dict[str, Any]:
    """A box asks for 64 MiB in 64 answers where 8 MiB may wait for it, and reads none of them; another asks, too."""
    loud = await runtime.create_box("loud")
    loud.on_message(lambda sender, data: "x" * data)
    await loud.run()
    box = await runtime.create_box("asker", BoxSpec(limits=BoxLimits(mailbox_mib=8)))
    before, highest, began = memory_mib(), 0.0, time.monotonic()
    await box.run_script(HOSTILE, "asks", "64")
    while loud.stats().received < 64 or loud.stats().mailbox:
        highest = max(highest, memory_mib())
        await asyncio.sleep(0.01)
    other = await runtime.request("loud", 5, timeout=10)
    outcomes = [
        record.outcome for record in runtime.audit.tail(1000) if record.kind == "answer" and record.target == "asker"
    ]
    took = time.monotonic() - began
    await box.stop(grace=0.2)
    return {"grown": highest - before, "outcomes": outcomes, "other": other, "seconds": took}


async def many_answers(runtime: BoxRuntime) -> list[int]:
    """A box that reads gets all its answers, also when they are more than may wait for it."""
    box = await runtime.create_box("reader", BoxSpec(limits=BoxLimits(mailbox_mib=2)))

    @box.task
    def main() -> Any:
        import threading

        from shoal_guest import send_message

        sizes: list[int] = []
        threads = [threading.Thread(target=lambda: sizes.append(len(send_message("loud", 1 << 20)))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sizes

    await box.run()
    await box.wait(timeout=60)
    return list(box.result)


async def main(level: str, count: str) -> dict[str, Any]:
    """One flood after the other."""
    async with BoxRuntime(level, logs="none") as runtime:
        await pair(runtime)
        await runtime.request("talker", 5)
        report = {
            "quiet": {"p95_ms": p95_ms(await runtime.request("talker", ASKS))},
            "frames": await during(runtime, "frames", "floods_and_reads", count, whole=True),
            "unread": await during(runtime, "unread", "floods", count),
            "lines": await during(runtime, "lines", "lines", count, script=FLOODER),
            "endless": await during(runtime, "endless", "endless", count, script=FLOODER),
            "publishes": await during(runtime, "loop", "publishes", count, script=FLOODER),
            "threads": await during(runtime, "threads", "threads", count, script=FLOODER),
            "interpreter": await during(runtime, "holder", "holds", count, script=FLOODER),
            "silent": await never_reads(runtime),
            "answers": await never_reads_answers(runtime),
            "many answers": await many_answers(runtime),
        }
        report["afterwards"] = {"p95_ms": p95_ms(await runtime.request("talker", ASKS))}
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
