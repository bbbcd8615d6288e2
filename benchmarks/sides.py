"""The other processes of a measurement: each runs a function of a module, and says a line of JSON when it is there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

__all__ = ["Side", "Sides", "say", "until_alone"]


class Side:
    """One process: ``FUNCTION(**ARGUMENTS)`` of a module, in this interpreter."""

    def __init__(self, module: str, function: str, **arguments: object) -> None:
        self.name = function
        code = f"from {module} import {function}; {function}(**{arguments!r})"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by end(); a pipe that nobody reads holds it up
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def told(self) -> dict[str, Any]:
        """Wait for the next line that it says. Raises RuntimeError: it ended before, with the last line of its errors."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{self.name} ended with {self.process.wait()} before it was there: {last[:150]}")

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


class Sides:
    """The processes of one measurement; none outlives the block."""

    def __init__(self, module: str) -> None:
        self._module = module
        self.all: list[Side] = []

    def begin(self, function: str, **arguments: object) -> Side:
        """Start one, and wait until it is there."""
        side = self.start(function, **arguments)
        side.told()
        return side

    def start(self, function: str, **arguments: object) -> Side:
        """Start one."""
        self.all.append(Side(self._module, function, **arguments))
        return self.all[-1]

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in reversed(self.all):
            side.end()


def say(**told: object) -> None:
    """Tell the process that started this one."""
    print(json.dumps(told), flush=True)


async def until_alone() -> None:
    """Say that this side is there, and return when whoever started it has ended."""
    parent = os.getppid()
    say()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(1)
