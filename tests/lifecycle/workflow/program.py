"""The run of a team in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lifecycle.runs.killing import ROOT

__all__ = ["program"]


@contextmanager
def program(folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Carry the run ``r`` of the team *name* out, or go on with it; what is left at the end is killed."""
    names = [str(folder / "runs.db"), str(folder / "calls.log"), name, "r"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.workflow.team_node", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        if process.returncode is None or not process.stdout.closed:  # type: ignore[union-attr]
            process.communicate(timeout=30)
