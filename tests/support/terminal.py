"""A real pseudo-terminal: a command in it, what is typed, and what a person would see on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import GUARD_SECONDS, SHOAL, environment

__all__ = ["Terminal", "screen", "terminal"]

_PART = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """A command with a terminal of its own. ``shown`` is all that it has written to it."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self.process = process
        self.shown = ""
        self._ours = ours

    def type(self, text: str) -> None:
        """Type *text*; ``\\x03`` is Ctrl-C."""
        os.write(self._ours, text.encode())

    def until(self, words: str, after: int = 0) -> int:
        """Wait until *words* were written, behind the first *after* characters; return where they end."""
        limit = time.monotonic() + GUARD_SECONDS
        while (place := self.shown.find(words, after)) < 0:
            assert time.monotonic() < limit, self.shown
            assert self._read(), f"it ended without {words!r}: {self.shown}"
        return place + len(words)

    def end(self) -> int:
        """Wait for its end and return its exit code."""
        while self._read():
            pass
        return self.process.wait(GUARD_SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], GUARD_SECONDS)
        assert ready, f"nothing more came: {self.shown}"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)

    @property
    def screen(self) -> list[str]:
        """The lines that a person sees, and has seen."""
        return screen(self.shown)


@contextmanager
def terminal(
    folder: Path, *words: str, size: tuple[int, int] = (24, 100), variables: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """Run the command ``shoal`` in a terminal of *size* (lines, columns); what is left at the end is killed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    known = {key: value for key, value in environment().items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(SHOAL), *words],
        cwd=folder,
        env=known | {"TERM": "xterm"} | (variables or {}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def screen(shown: str) -> list[str]:
    """Return the lines that stand on a terminal after *shown*: cursor up, erase line, carriage return, text."""
    lines, row, column = [""], 0, 0
    for sequence, verb, end, text in _PART.findall(shown):
        if verb == "A":
            row = max(0, row - int(sequence or 1))
        elif verb == "K":
            lines[row] = "" if sequence == "2" else lines[row][:column]
        elif end == "\r":
            column = 0
        elif end == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines]
