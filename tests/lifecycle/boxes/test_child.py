"""A started child, whoever listens to it: its end is always told, and who is gone is not taken for ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import BoxRuntime, BoxSpec, wire
from shoal.boxes.holding import box_homes
from shoal.boxes.process import ProcessLauncher
from shoal.boxes.spawning import Spawner
from shoal.boxes.spec import BoxLimits
from shoal.errors import BoxStartError
from shoal.kernel.clock import RealClock

Run = Callable[..., Any]

HELLO_AND_GONE = """#!/usr/bin/python3 -IS
import os, struct, sys
body = b'{"type":"hello","protocol":[1,0],"guest":"x","python":"3.11.0","pid":1}'
os.write(0, struct.pack(">I", len(body)) + b"J" + body)
os.kill(os.getpid(), 9)
"""


class Faulty:
    """An owner with a fault: it raises at every frame and at the end."""

    def on_frame(self, kind: int, body: bytes) -> None:
        raise KeyError("frame")

    def on_line(self, stream: str, line: str) -> None:
        return

    def on_exit(self, code: int) -> None:
        raise ZeroDivisionError("end")


def test_a_fault_of_its_owner_ends_a_child_and_its_end_is_told(run: Run) -> None:
    async def main() -> None:
        faults: list[type[BaseException]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: faults.append(type(about["exception"])))
        spawner = Spawner(RealClock())
        preload = wire.Preload(load=("json",))
        child = spawner.spawn(ProcessLauncher(for_boxes=True), BoxSpec(), BoxLimits(), preload)
        child.owner = Faulty()  # hears of ``loaded``
        assert await child.reaped in (-9, 70)  # killed, or gone with its channel
        assert child.violation is not None and child.violation.startswith("protocol: ")
        await spawner.close()
        assert faults == [KeyError, ZeroDivisionError]

    run(main, timeout=20)


@pytest.mark.parametrize("warm", [0, 1])
def test_who_says_hello_and_is_gone_is_waited_for_by_nobody(run: Run, tmp_path: Path, warm: int) -> None:
    fake = tmp_path / "python3"
    fake.write_text(HELLO_AND_GONE)
    fake.chmod(0o755)

    async def main() -> None:
        async with BoxRuntime("process", warm=warm, logs="none") as runtime:
            for number in range(20):
                try:
                    box = await runtime.create_box(f"box-{number}", BoxSpec(python=str(fake)))
                except BoxStartError as error:
                    assert "ended with exit code -9" in str(error)
                else:
                    await box.stop()

    run(main, timeout=20)


def test_a_limit_that_is_too_low_to_come_up_is_named(run: Run) -> None:
    if "memory" not in box_homes():
        pytest.skip("no control group of memory may be made here")

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            with pytest.raises(BoxStartError, match=r"before hello \(memory limit 1 MiB\)"):
                await runtime.create_box("box", memory_mib=1)

    run(main, timeout=20)
