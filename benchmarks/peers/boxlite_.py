"""boxlite's router of messages between boxes, with local processes in place of its virtual machines."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from boxlite.orchestration import BoxRuntime, ManagedBox

from benchmarks.common import folder, run, spread
from benchmarks.services_requests import TEXT

__all__ = ["between"]


def between(count: int, alone: int) -> dict[str, float]:
    """Return what a box waits that asks another one, after *count* questions that are not measured: one at a time."""
    return run(_between(count, alone))


async def _between(count: int, alone: int) -> dict[str, float]:
    with folder() as path:
        runtime, told = BoxRuntime(), path / "told"
        boxes = {name: _LocalBox(runtime, name) for name in ("answering", "asking")}
        runtime._boxes.update(boxes)

        @boxes["answering"].on_message
        def answer(sender: str, data: Any) -> Any:
            return data

        boxes["asking"].task(_asking(str(told), count, alone))
        for box in boxes.values():
            await box.run()
        try:
            await asyncio.gather(boxes["asking"].wait())
            return dict(json.loads(told.read_text()))
        finally:
            for box in boxes.values():
                box.end()
                await box.wait()


def _asking(told: str, count: int, alone: int) -> Any:
    text, figures = TEXT, spread

    def task() -> None:
        from boxlite_runtime import send_message

        seconds = []
        for _ in range(count + alone):
            begun = time.perf_counter()
            send_message("answering", {"text": text})
            seconds.append(time.perf_counter() - begun)
        Path(told).write_text(json.dumps(figures(seconds[count:])))

    return task


class _LocalBox(ManagedBox):  # type: ignore[misc]
    """A box whose machine is a process here; pump and router are boxlite's own."""

    async def run(self, env: dict[str, str] | None = None) -> None:
        """Start the process that runs what boxlite has made for the machine."""
        guest = str(importlib.resources.files("boxlite.orchestration.guest"))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            self._generate_code(),
            env={**os.environ, "BOXLITE_BOX_NAME": self._name, "PYTHONPATH": os.pathsep.join((guest, os.getcwd()))},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._execution, self._stdout = self, self._process.stdout
        self._stdin = self
        self._pump_task = asyncio.create_task(self._message_pump())

    async def send_input(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def wait(self) -> int:
        """Wait for the end of the process."""
        code = await self._process.wait()
        if self._pump_task is not None:
            self._pump_task.cancel()
        return code

    def end(self) -> None:
        """Kill the process, if it is there."""
        if self._process.returncode is None:
            self._process.kill()
