"""Answers and greetings that are made to hurt: ``python -m tests.lifecycle.boxes.attacks.answering LEVEL``.

Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shoal.boxes import BoxRuntime, BoxSpec
from shoal.boxes.procfs import all_stats, descendants
from shoal.errors import BoxStartError, ShoalError

FAKE = Path(__file__).with_name("fake_guest.py")
GREETINGS = ("junk", "early", "version", "deep", "dies", "odd", "silent")
START = 2.0


async def greetings(runtime: BoxRuntime, directory: Path) -> dict[str, Any]:
    """What says something else than hello, or nothing, is no box."""
    found = {}
    for name in GREETINGS:
        place = directory / "bin" / name
        shutil.copy(FAKE, place)
        place.chmod(0o755)
        began = time.monotonic()
        try:
            await runtime.create_box(name, BoxSpec(python=str(place), start_timeout=START))
        except BoxStartError as error:
            found[name] = [error.phase, str(error), time.monotonic() - began, error.stderr_tail]
        assert name not in runtime.boxes
    return found


async def pickles(runtime: BoxRuntime, trap: str) -> dict[str, Any]:
    """Answers, errors and results that would run code where they are unpickled."""
    box = await runtime.create_box("pickler")

    def evil() -> Any:
        class Evil(Exception):
            def __reduce__(self) -> Any:
                return open, (trap, "w")

            def __repr__(self) -> str:
                return "x" * 100_000

        return Evil()

    @box.on_message
    def handle(sender: str, data: Any) -> Any:
        import base64
        import pickle

        if data == "object":
            return {"deep": [evil()]}
        if data == "error":
            raise evil()
        return base64.b64encode(pickle.dumps(evil())).decode()

    await box.run()
    found: dict[str, Any] = {}
    for kind in ("object", "error", "text"):
        try:
            found[kind] = f"said {type(await runtime.request('pickler', kind)).__name__}"
        except ShoalError as error:
            found[kind] = type(error).__name__
    await box.stop()

    @box.task
    def main() -> Any:
        return evil()

    box._program.messages.clear()
    await box.run()
    found["result"] = [await box.wait(), box.result]
    return {**found, "sprung": Path(trap).exists()}


async def main(level: str) -> dict[str, Any]:
    """All of it, beside a box that goes on."""
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(repr(context)))
    with tempfile.TemporaryDirectory(prefix="shoal-attack-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "bin").mkdir(mode=0o755)
        async with BoxRuntime(level, logs="none") as runtime:
            witness = await runtime.create_box("witness")
            witness.on_message(lambda sender, data: sender)
            await witness.run()
            report = {
                "greetings": await greetings(runtime, directory),
                "pickles": await pickles(runtime, str(directory / "trap")),
                "witness": await runtime.request("witness", 1, timeout=5),
            }
        left = [stat.pid for stat in descendants(os.getpid(), all_stats())]
    return {**report, "faults": faults, "left": left}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
