"""Running a program of the project as a user does: a real process, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shoal import AgentRuntime
from shoal.testing.clock import run_checked

ROOT = Path(__file__).parents[2]
SECOND = 0.05
HANG_SECONDS = 90

T = TypeVar("T")


@dataclass(frozen=True)
class Printed:
    """What a program printed."""

    out: str
    err: str


def play(program: Path, folder: Path, *args: str, env: Mapping[str, str] | None = None) -> Printed:
    """Run *program* in *folder* with short seconds and return what it printed; it must end well."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *args],
        cwd=folder,
        env={**variables, "SHOAL_EXAMPLE_SECOND": str(SECOND), **(env or {})},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return Printed(done.stdout, done.stderr)


def look(file: Path, ask: Callable[[AgentRuntime], T]) -> T:
    """Open the store *file* after the fact and return what *ask* finds in it."""
    assert file.is_file(), f"{file.name} was not made"

    async def main() -> T:
        async with asyncio.timeout(HANG_SECONDS), AgentRuntime(file) as runtime:
            return ask(runtime)

    return run_checked(main)
