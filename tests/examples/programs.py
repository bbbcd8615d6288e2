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
from tests.support.backend import POSTGRES, store_at

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
    if POSTGRES in os.environ:
        program, more = _on_servers(program, folder)
        variables |= more
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
    on_servers = POSTGRES in os.environ
    assert on_servers or file.is_file(), f"{file.name} was not made"
    store = store_at(file.parent) if on_servers else file

    async def main() -> T:
        async with asyncio.timeout(HANG_SECONDS), AgentRuntime(store) as runtime:
            return ask(runtime)

    return run_checked(main)


def _on_servers(program: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Do to *program* what its user does who outgrows one machine: change two URLs, and nothing else."""
    url = store_at(folder)
    text = program.read_text()
    for mine in ('storage_path="./runtime.db"', 'store="sqlite://:memory:"'):
        text = text.replace(mine, f'store="{url}"')
    moved = folder / "on_servers" / program.name
    moved.parent.mkdir(exist_ok=True)
    moved.write_text(text)
    return moved, {"SHOAL_STORE": url, "SHOAL_BUS": os.environ["SHOAL_BUS"], "PYTHONPATH": str(program.parent)}
