"""Attacks in two machines, as many as one boot bears: ``python -m tests.lifecycle.boxes.attacks.machine LEVEL``.

The first machine looks for the host, fills its rooms, forks, misuses its channel and dies of it; the second one is looked
for, and dies of its memory. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shoal.boxes import BoxLimits, BoxRuntime, BoxSpec, Mount
from shoal.boxes.box import Box
from shoal.boxes.procfs import all_stats, descendants
from shoal.errors import DeadAgentError
from tests.lifecycle.boxes.attacks.channel import HOSTILE, answers, ask, memory_mib, sleeps, told
from tests.lifecycle.boxes.attacks.taking import FILL, FORK, python
from tests.lifecycle.boxes.attacks.walls import INSIDE, PROBER, PYTHON, WRITE, said

EAT = "kept = [b'x' * (8 << 20) for _ in range(128)]\nimport time; time.sleep(20)"
PIDS, ROOM_MIB, MEMORY_MIB = 60, 16, 192
TOLD = 7  # words of the attacks on the channel that a box survives


async def walls(box: Box, other: Box, directory: Path, port: int, abstract: str) -> dict[str, Any]:
    """What it sees of the host and of the other machine."""
    host: dict[str, Any] = {
        "secret": str(directory / "secret"),
        "marker": "SHOAL_TEST_MARKER",
        "word": "lifecycle.boxes",
        "pid": os.getpid(),
        "other": other.stats().pid,
        "unix": str(directory / "unix"),
        "port": port,
        "write": WRITE,
    }
    report = await said(box, PROBER, json.dumps(host))
    report["inside"] = await said(box, INSIDE, host["secret"], str(port), abstract, str(os.getpid()))
    report["other lives"] = (await other.exec("echo", "yes")).stdout
    return report


async def channel(runtime: BoxRuntime, box: Box) -> dict[str, Any]:
    """It says what is wrong and survives, then uses a number again and dies."""
    before = memory_mib()
    await box.run_script(HOSTILE, "lives_and_dies", "microvm")
    words = await told(box, TOLD)
    began = time.monotonic()
    code = await box.wait(timeout=20)
    return {
        "told": words,
        "code": code,
        "reason": box.reason,
        "seconds": time.monotonic() - began,
        "grown": memory_mib() - before,
        "witness": await ask(runtime, "witness", 5.0),
    }


async def memory(runtime: BoxRuntime, box: Box) -> dict[str, Any]:
    """It takes more than it may, by a command beside its program."""
    try:
        await box.exec(PYTHON, "-I", "-S", "-c", EAT, timeout=60)
    except DeadAgentError as error:
        heard = str(error)
    code = await box.wait(timeout=20)
    return {"heard": heard, "code": code, "reason": box.reason, "witness": await ask(runtime, "witness", 5.0)}


async def attacked(level: str, directory: Path, port: int, abstract: str) -> dict[str, Any]:
    limits = BoxLimits(tmp_mib=ROOM_MIB, pids=PIDS, memory_mib=MEMORY_MIB)
    async with BoxRuntime(level, limits, logs="none") as runtime:
        runtime.on_message(answers)
        for name, handler in (("witness", answers), ("sleeper", sleeps)):
            box = await runtime.create_box(name, BoxSpec(limits=BoxLimits()), isolation="process")
            box.on_message(handler)
            await box.run()
        mounts = (Mount(directory / "in", "/in"),)
        box, other = await asyncio.gather(runtime.create_box("a", BoxSpec(mounts=mounts)), runtime.create_box("b"))
        other.on_message(answers)
        await other.run()
        report = await walls(box, other, directory, port, abstract)
        report["limits"] = dict(box.stats().limits)
        report["disk"] = json.loads("".join(await python(box, FILL)))
        report["forks"] = await python(box, FORK)
        report["channel"] = await channel(runtime, box)
        report["memory"] = await memory(runtime, other)
        await runtime.boxes["sleeper"].stop(grace=0.1)
    report["secret afterwards"] = (directory / "secret").read_text() + (directory / "in" / "old").read_text()
    return report


async def main(level: str) -> dict[str, Any]:
    """Make what is not to be seen, and attack."""
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(repr(context)))
    with tempfile.TemporaryDirectory(prefix="shoal-attack-") as name, socket.socket(socket.AF_UNIX) as unix:
        directory = Path(name)
        (directory / "in").mkdir()
        for file in ("secret", "in/old"):
            (directory / file).write_text("secret")
        unix.bind(str(directory / "unix"))
        unix.listen()
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as hidden:
            abstract = f"shoal-attack-{os.getpid()}"
            hidden.bind(f"\0{abstract}")
            hidden.listen()
            report = await attacked(level, directory, tcp.getsockname()[1], abstract)
    left = [stat.pid for stat in descendants(os.getpid(), all_stats())]
    return {**report, "faults": faults, "left": left}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
