"""Many boxes started and stopped, or started and kept: ``python -m tests.lifecycle.boxes.attacks.many WHAT LEVEL COUNT``.

Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from typing import Any

from shoal.boxes import BoxRuntime
from shoal.boxes.holding import box_homes
from shoal.boxes.procfs import all_stats, descendants
from shoal.boxes.state import state_directory
from tests.lifecycle.boxes.attacks.channel import memory_mib

AT_ONCE = 4


def ours() -> dict[str, Any]:
    """What this process has on the machine."""
    base = state_directory("1-1-1").parents[1]
    prefix = f"{os.getpid()}-"
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(descendants(os.getpid(), all_stats())),
        "groups": sorted(str(path) for home in box_homes().values() for path in home.path.glob(f"shoal-{prefix}*")),
        "directories": sorted(path.name for path in base.iterdir() if path.name.startswith(prefix)),
        "temporary": len(os.listdir(tempfile.gettempdir())),
        "asyncio tasks": len(asyncio.all_tasks()),
    }


async def start(runtime: BoxRuntime, name: str) -> None:
    box = await runtime.create_box(name)
    box.on_message(lambda sender, data: data)
    await box.run()
    assert await runtime.request(name, 1) == 1


async def cycles(level: str, count: int) -> dict[str, Any]:
    """Start and stop boxes; what there is of this process before and after."""
    async with BoxRuntime(level, logs="none") as runtime:
        await start(runtime, "first")
        await runtime.remove_box("first")
        await asyncio.sleep(0.5)
        before, began, memory = ours(), time.monotonic(), memory_mib()

        async def line(place: int) -> None:
            for number in range(place, count, AT_ONCE):
                await start(runtime, f"box-{number}")
                await runtime.boxes[f"box-{number}"].stop(grace=10.0)
                await runtime.remove_box(f"box-{number}")

        await asyncio.gather(*map(line, range(AT_ONCE)))
        for _ in range(100):
            if (after := ours()) == before:
                break
            await asyncio.sleep(0.05)
        took = {"seconds": time.monotonic() - began, "grown_mib": memory_mib() - memory}
    return {"before": before, "after": after, "at the end": ours(), **took}


async def stay(level: str, count: int) -> dict[str, Any]:
    """Start boxes with commands beside their programs, say what there is of them, and wait to be killed."""
    async with BoxRuntime(level, logs="none") as runtime:
        await asyncio.gather(*(start(runtime, f"box-{number}") for number in range(count)))
        commands = [asyncio.create_task(box.exec("sleep", "1000")) for box in runtime.boxes.values()]
        await asyncio.gather(*(box.exec("true") for box in runtime.boxes.values()))
        below = [(stat.pid, stat.started) for stat in descendants(os.getpid(), all_stats())]
        print(json.dumps({**ours(), "pids": below}), flush=True)
        await asyncio.gather(*commands)
    return {}


async def sweep(level: str, _: int) -> dict[str, Any]:
    """Do what the next start does."""
    async with BoxRuntime(level, logs="none") as runtime:
        await start(runtime, "next")
    return {}


WHAT: dict[str, Callable[[str, int], Coroutine[Any, Any, dict[str, Any]]]] = {
    "cycles": cycles,
    "stay": stay,
    "sweep": sweep,
}

if __name__ == "__main__":
    what, chosen, amount = sys.argv[1:]
    print(json.dumps(asyncio.run(WHAT[what](chosen, int(amount)))))
