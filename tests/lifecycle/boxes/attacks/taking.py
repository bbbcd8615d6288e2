"""Boxes that take too much: ``python -m tests.lifecycle.boxes.attacks.taking LEVEL``. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from shoal.boxes import BoxLimits, BoxRuntime, BoxSpec
from shoal.boxes.box import Box
from shoal.boxes.procfs import all_stats
from shoal.errors import DeadAgentError, ShoalError
from tests.lifecycle.boxes.attacks.channel import is_left
from tests.lifecycle.boxes.attacks.walls import PYTHON

FILL = """
import errno, json
room = {}
for place in ('/tmp/x', '/work/x'):
    n = 0
    try:
        with open(place, 'wb', buffering=0) as file:
            while n < 200: n += file.write(bytes(1 << 20)) >> 20
    except OSError as error: room[place] = [n, errno.errorcode[error.errno]]
print(json.dumps(room))
"""
FORK = """
import os, time
n = 0
try:
    while n < 300:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        n += 1
except OSError as error: print(n, error.errno, flush=True)
else: print(n, 0, flush=True)
os.killpg(0, 9)
"""
SPIN = "import time\nend = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass"


async def python(box: Box, code: str) -> list[str]:
    """Run code in it; returns the words it prints, or how the box died of it."""
    try:
        return (await box.exec(PYTHON, "-I", "-S", "-c", code, timeout=60)).stdout.split()
    except DeadAgentError as error:
        return [type(error).__name__, str(error)]


async def memory(runtime: BoxRuntime) -> dict[str, Any]:
    """A gigabyte where a quarter of it is allowed."""
    box = await runtime.create_box("eater", memory_mib=256)

    @box.on_message
    def handle(sender: str, data: Any) -> Any:
        import time

        kept = [b"x" * (8 << 20) for _ in range(128)]
        time.sleep(20)  # who only looks now and then must see it
        return len(kept)

    await box.run()
    began = time.monotonic()
    try:
        heard = str(await runtime.request("eater", 1))
    except DeadAgentError as error:
        heard = str(error)
    code = await box.wait(timeout=20)
    return {"heard": heard, "reason": box.reason, "code": code, "seconds": time.monotonic() - began}


async def memory_of_a_command(runtime: BoxRuntime) -> dict[str, Any]:
    """The same by a command beside the program: the box dies whole."""
    box = await runtime.create_box("feeder", memory_mib=256)
    said = await python(box, "kept = [b'x' * (8 << 20) for _ in range(128)]\nimport time; time.sleep(20)")
    await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while box.exit_code is None and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return {"said": said, "reason": box.reason}


async def forks(runtime: BoxRuntime) -> dict[str, Any]:
    """Three hundred processes, where fewer are allowed."""
    before = {stat.pid for stat in all_stats()}
    box = await runtime.create_box("forker", BoxSpec(limits=BoxLimits(pids=256, best_effort=True)))
    said = await python(box, FORK)
    await box.stop(grace=0.2)
    deadline = time.monotonic() + 10
    while True:
        left = [stat.pid for stat in all_stats() if is_left(stat) and stat.pid not in before]
        if not left or time.monotonic() > deadline:
            return {"said": said, "left": len(left)}
        await asyncio.sleep(0.05)


async def disk(runtime: BoxRuntime, level: str) -> Any:
    """All the room there is."""
    if level == "process":
        try:
            await runtime.create_box("filler", BoxSpec(limits=BoxLimits(tmp_mib=8)))
        except ShoalError as error:
            return [type(error).__name__, str(error)]
    box = await runtime.create_box("filler")
    return json.loads("".join(await python(box, FILL)))


async def processor(runtime: BoxRuntime) -> dict[str, Any]:
    """All the time there is, where a fifth of it is allowed."""
    try:
        box = await runtime.create_box("spinner", cpus=0.2)
    except ShoalError as error:
        return {"refused": type(error).__name__}
    before, began = box.stats().cpu_s, time.monotonic()
    await python(box, SPIN)
    share = (box.stats().cpu_s - before) / (time.monotonic() - began)
    return {"share": share, "held": box.stats().limits["cpus"]}


async def main(level: str) -> dict[str, Any]:
    """All of it in one runtime, beside a box that has its peace."""
    async with BoxRuntime(level, logs="none") as runtime:
        sibling = await runtime.create_box("sibling")
        sibling.on_message(lambda sender, data: "here")
        await sibling.run()
        stats = sibling.stats()
        report: dict[str, Any] = {
            "limits": dict(stats.limits),
            "seen": [stats.pids, stats.memory_bytes >> 20, stats.memory_peak_bytes >> 20],
            "memory": await memory(runtime),
            "command": await memory_of_a_command(runtime),
            "forks": await forks(runtime),
            "disk": await disk(runtime, level),
            "processor": await processor(runtime),
        }
        report["sibling"] = [await runtime.request("sibling", 1, timeout=5), sibling.state]
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
