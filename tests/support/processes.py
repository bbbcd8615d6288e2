"""Processes of tests: scripts that talk by lines of JSON, and whether a process is still there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Script", "gone", "script"]


class Script:
    """A script that runs, or a module by its name, and what it says. *before* is what its command begins with."""

    def __init__(self, program: Path | str, *args: str, before: Sequence[str] = ()) -> None:
        what = [str(program)] if isinstance(program, Path) else ["-m", program]
        self.process = subprocess.Popen(
            [*before, sys.executable, "-W", "error", *what, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")},
        )

    def hear(self) -> Any:
        """Return the next line it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it has ended with {self.process.wait()}"
        return msgspec.json.decode(line)

    def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@contextmanager
def script(program: Path | str, *args: str, before: Sequence[str] = ()) -> Iterator[Script]:
    """Run a script, or a module; what is left of it at the end is killed and reaped."""
    running = Script(program, *args, before=before)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for pipe in (running.process.stdin, running.process.stdout):
            assert pipe is not None
            pipe.close()


def gone(pid: int) -> bool:
    """Tell whether a process has ended; a zombie that only init has to reap has."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return fields[0] in ("Z", "X") and fields[1] == "1"
