"""Boxes that misuse their channel, beside others: ``python -m tests.lifecycle.boxes.attacks.channel LEVEL NAME...``.

Prints one line of JSON: what came of each attack.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from shoal import errors
from shoal.boxes import BoxRuntime
from shoal.boxes.box import Box
from shoal.boxes.procfs import ProcessStat, all_stats
from shoal.errors import DeadAgentError

HOSTILE = Path(__file__).with_name("hostile.py")
LIVES = {"foreign_answers", "forged_sender", "digits_to_host", "odd_timeouts", "long_names", "long_log_streams"}
WITHIN = 20.0
AT_ONCE = 4


def memory_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def told(box: Box, count: int) -> list[str]:
    """Wait until it has printed so many words; returns them."""
    async with asyncio.timeout(WITHIN):
        while True:
            words = [line.text.removeprefix("told ") for line in box.logs("stdout") if line.text.startswith("told")]
            if len(words) >= count or box.state == "exited":
                return words
            await asyncio.sleep(0.01)


async def ask(runtime: BoxRuntime, target: str, seconds: float = WITHIN) -> Any:
    """Return what a box answers, or the name of the error and its text."""
    try:
        return await runtime.request(target, 1, timeout=seconds)
    except (errors.ShoalError, TimeoutError) as error:
        return [isinstance(error, DeadAgentError), f"{type(error).__name__}: {error}"]


async def killed(runtime: BoxRuntime, box: Box) -> dict[str, Any]:
    """A box that ends for what it did: how, and what those heard who waited for it."""
    waiter = asyncio.create_task(ask(runtime, box.name))
    began = time.monotonic()
    code = await box.wait(timeout=WITHIN)
    heard = await waiter
    return {"code": code, "reason": box.reason, "heard": heard, "seconds": time.monotonic() - began}


async def lives(runtime: BoxRuntime, box: Box, name: str) -> dict[str, Any]:
    """A box that goes on: what it was told."""
    if name == "foreign_answers":
        answers = [await ask(runtime, box.name) for _ in range(4)]
        return {"told": answers, "late": box.stats().late_replies, "state": box.state}
    return {"told": await told(box, 1 if name in ("forged_sender", "long_names", "long_log_streams") else 2)}


async def one(runtime: BoxRuntime, name: str, level: str) -> dict[str, Any]:
    """Start a box, have it attack, and see what becomes of it and of the others."""
    box = await runtime.create_box(name)
    before, began = memory_mib(), time.monotonic()
    with contextlib.suppress(DeadAgentError):  # it may be gone before it is seen to have begun
        await box.run_script(HOSTILE, name, level)
    found = await (lives(runtime, box, name) if name in LIVES else killed(runtime, box))
    found["grown"] = memory_mib() - before
    found["witness"] = await ask(runtime, "witness", 5.0)
    await box.stop(grace=0.1)
    found["took"] = time.monotonic() - began
    return found


def answers(sender: str, data: Any) -> Any:
    return [sender, data if isinstance(data, int) and data < 10 else "?"]


def sleeps(sender: str, data: Any) -> Any:
    import time

    time.sleep(1000)


async def main(level: str, names: list[str]) -> dict[str, Any]:
    """Attack in one runtime, a few at once."""
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(repr(context)))
    before = {stat.pid for stat in all_stats()}
    report: dict[str, Any] = {}
    async with BoxRuntime(level, logs="none") as runtime:
        runtime.on_message(answers)
        for name, handler in (("witness", answers), ("sleeper", sleeps)):
            box = await runtime.create_box(name)
            box.on_message(handler)
            await box.run()
        at_once = asyncio.Semaphore(AT_ONCE)

        async def in_turn(name: str) -> None:
            async with at_once:
                report[name] = await one(runtime, name, level)

        await asyncio.gather(*map(in_turn, names))
        await runtime.boxes["sleeper"].stop(grace=0.1)
    report["faults"] = faults
    report["left"] = [stat.pid for stat in all_stats() if is_left(stat) and stat.pid not in before]
    return report


def is_left(stat: ProcessStat) -> bool:
    """Whether it could be of a box: alive, and ours or nobody's."""
    return stat.state not in "ZX" and stat.parent in (1, os.getpid())


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2:]))))
