"""``shoal up`` in a process of its own: what it says, line by line, and what is left of it."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TextIO

from tests.support.command import GUARD_SECONDS, begin, environment
from tests.support.engines import fresh_folder
from tests.support.processes import gone

__all__ = ["Up", "service_folder", "up"]


@contextmanager
def service_folder(workers: str, file: str) -> Iterator[Path]:
    """A folder that PostgreSQL can reach, with ``workers.py`` and ``services.toml`` in it."""
    made = fresh_folder()
    made.chmod(0o755)
    (made / "workers.py").write_text(workers)
    (made / "services.toml").write_text(file)
    yield made
    rmtree(made)


class Up:
    """A ``shoal up`` that runs. ``lines`` is what it has said so far, ``errors`` what on standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((process.stdout, self.lines), (process.stderr, self.errors))
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: TextIO, lines: list[str]) -> None:
        while line := pipe.readline():
            lines.append(line.rstrip("\n"))

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches, and return the match of the last one."""
        limit = time.monotonic() + GUARD_SECONDS
        while True:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if found:
                return found[-1]
            assert time.monotonic() < limit, (pattern, self.lines, self.errors)
            assert any(reader.is_alive() for reader in self._readers), (pattern, self.lines, self.errors)
            time.sleep(0.005)

    def pid(self, name: str) -> int:
        """Return the process of an instance, when it runs."""
        return int(self.until(rf"^{name}  runs.*pid (\d+)")[1])

    @property
    def url(self) -> str:
        """Where its registry is."""
        return self.until(r"registry (http://\S+)")[1]

    def end(self, *numbers: int) -> int:
        """Send signals, wait for its end, and return its exit code."""
        for number in numbers:
            self.process.send_signal(number)
        code = self.process.wait(GUARD_SECONDS)
        for reader in self._readers:
            reader.join(GUARD_SECONDS)
        return code


@contextmanager
def up(folder: Path, file: str = "services.toml", *words: str, **variables: str) -> Iterator[Up]:
    """Run ``shoal up`` in *folder*; what is left of it at the end is killed and reaped, its services gone."""
    process = begin(folder, "up", file, *words, variables=environment() | variables)
    running = Up(process)
    try:
        yield running
    finally:
        process.kill()
        running.end()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        pids = {int(found[1]) for line in running.lines if (found := re.search(r"pid (\d+)", line))}
        limit = time.monotonic() + GUARD_SECONDS
        while not all(gone(pid) for pid in pids):
            assert time.monotonic() < limit, pids
            time.sleep(0.01)
