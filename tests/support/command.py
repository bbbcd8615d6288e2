"""The real command ``shoal`` in a process of its own: what it is asked, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["GUARD_SECONDS", "SHOAL", "begin", "environment", "refused", "said", "shoal"]

SHOAL = Path(sys.executable).with_name("shoal")
GUARD_SECONDS = 60


def environment() -> dict[str, str]:
    """Return this process's environment without settings of Shoal."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")} | {"COLUMNS": "80"}


def begin(folder: Path, *words: str, variables: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Begin a command in *folder*, with *variables* as its whole environment."""
    return subprocess.Popen(
        [SHOAL, *words],
        cwd=folder,
        env=environment() if variables is None else variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def shoal(folder: Path, *words: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Carry out one command in *folder*, where the default store is."""
    environ = environment() | (variables or {})
    command = [str(SHOAL), *words]
    return subprocess.run(
        command, cwd=folder, env=environ, text=True, capture_output=True, timeout=GUARD_SECONDS, check=False
    )


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """Return the one JSON document that a command has printed."""
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check an error: its exit code, one line with *words*, its note, nothing else."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("shoal: ") and all(line.startswith("  ") for line in lines[1:])
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
