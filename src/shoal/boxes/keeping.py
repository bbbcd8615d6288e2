"""What agents of a runtime print, kept in files: ``FOLDER/AGENT_ID/NUMBER``, pieces of JSON lines, the oldest forgotten.

The folder is the user's own (mode 0700). Whoever knows it can read along, also when the runtime has ended; a runtime that
starts again goes on where the last one ended. ``keptlines.py`` reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
from datetime import datetime
from pathlib import Path

import msgspec

from shoal.boxes.spec import BoxLimits
from shoal.kernel.ports import Clock, LaunchSpec

__all__ = ["AgentOutput", "KeptLine", "forget_output", "numbers_of", "output_of", "piece"]

_MIB = 1 << 20
_PIECES = 4
_PART = 64 * 1024  # a line without an end that is this long goes on
_AT_ONCE = 256 * 1024  # bytes that wait for the end of a turn of the loop
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


class KeptLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that an agent printed. ``pid`` tells its lives apart, ``stream`` is stdout or stderr; ``text`` is raw,
    without its line end; ``partial``: a line over 64 KiB goes on in the next one."""

    at: datetime
    pid: int
    stream: str
    text: str
    partial: bool = False


class AgentOutput:
    """Writes what one life of an agent prints. It holds as many lines and as much as its limits say, at most.

    Lines of one turn of the loop are written together at its end. A file that cannot be written is told once, in the log;
    the agent does not suffer from it.
    """

    def __init__(self, folder: Path, pid: int, clock: Clock, limits: BoxLimits) -> None:
        """Nothing is made before the first line.

        Args:
            folder: the agent's own, in the folder of all.
            pid: the process of this life.
            clock: when a line came.
            limits: ``log_lines`` and ``log_mib`` hold for all pieces together.
        """
        self._folder = folder
        self._pid = pid
        self._clock = clock
        self._piece_bytes = int(limits.log_mib * _MIB) // _PIECES
        self._piece_lines = max(1, limits.log_lines // _PIECES)
        self._fd: int | None = None
        self._number = 0
        self._bytes = 0  # of the piece, with what waits
        self._lines = 0
        self._waiting = bytearray()
        self._turn: asyncio.Handle | None = None
        self._failed = False

    def line(self, stream: str, text: str) -> None:
        """Keep a line, which comes with its end; one without is a part of a longer one, or its last words."""
        if self._failed:
            return
        whole = text.endswith("\n")
        kept = KeptLine(
            at=self._clock.now(),
            pid=self._pid,
            stream=stream,
            text=text[:-1] if whole else text,
            partial=not whole and len(text) >= _PART,
        )
        record = _encode(kept) + b"\n"
        try:
            if self._fd is None:
                self._open(max(numbers_of(self._folder), default=1))
            if self._bytes and (self._lines >= self._piece_lines or self._bytes + len(record) > self._piece_bytes):
                self._next_piece()
        except OSError as error:
            self._fail(error)
            return
        self._waiting += record
        self._bytes += len(record)
        self._lines += 1
        if len(self._waiting) >= _AT_ONCE:
            self._flush()
        elif self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Write what waits, and give up the file."""
        self._flush()
        self._let_go()

    def _flush(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        data = bytes(self._waiting)
        self._waiting.clear()
        try:
            while data and self._fd is not None:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self._fail(error)

    def _open(self, number: int) -> None:
        """Write to that piece from now on, after what is there."""
        _make_private(self._folder)
        path = piece(self._folder, number)
        there = path.read_bytes() if path.exists() else b""
        self._fd = os.open(path, _FLAGS, 0o600)
        self._number, self._bytes, self._lines = number, len(there), there.count(b"\n")
        if there and not there.endswith(b"\n"):  # whoever wrote it was killed
            self._waiting += b"\n"

    def _next_piece(self) -> None:
        self._flush()
        self._let_go()
        self._open(max(self._number, *numbers_of(self._folder)) + 1)
        for number in numbers_of(self._folder):
            if number <= self._number - _PIECES:
                piece(self._folder, number).unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        self._let_go()
        _log.warning("what an agent prints is no longer kept: %s: %s", self._folder, error)

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _make_private(folder: Path) -> None:
    """Make an agent's folder, and the two above it, for this user alone. Raises OSError."""
    for part in (folder.parents[1], folder.parent, folder):
        part.mkdir(mode=0o700, exist_ok=True)
        found = part.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{part} is no folder of this user")
        if stat.S_IMODE(found.st_mode) != 0o700:
            part.chmod(0o700)


def output_of(spec: LaunchSpec, pid: int, folder: Path | None, clock: Clock) -> AgentOutput | None:
    """Return what keeps the output of a new life of an agent in its part of *folder*; None: nowhere."""
    if folder is None:
        return None
    limits = BoxLimits() if spec.box is None or spec.box.limits is None else spec.box.limits
    return AgentOutput(folder / spec.agent_id, pid, clock, limits)


def numbers_of(folder: Path) -> list[int]:
    """Return the numbers of the pieces that are there, the oldest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
    return []


def piece(folder: Path, number: int) -> Path:
    """Return the file of a piece."""
    return folder / str(number)


def forget_output(folder: Path | None, agent_id: str) -> None:
    """Remove what is kept of an agent in the *folder* of all, if there is one."""
    if folder is not None:
        shutil.rmtree(folder / agent_id, ignore_errors=True)
