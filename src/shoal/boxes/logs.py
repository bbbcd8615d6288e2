"""What boxes print and log: kept in a ring, followed, and passed on to the host's own output."""

from __future__ import annotations

import asyncio
import collections
import re
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Literal

import msgspec

__all__ = ["LogLine", "Logs", "LogsMode", "relay_to", "visible"]

LogsMode = Literal["relay", "prefix", "none"] | Callable[["LogLine"], object]
_FOLLOWED = 10_000  # lines that wait for a follower; a slower one loses the oldest
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line. ``stream``: stdout, stderr, log or exec. ``text`` is raw, without its line end; ``partial``: a line over
    64 KiB goes on in the next one. ``seq`` counts the lines of a box, ``incarnation`` its runs."""

    box: str
    incarnation: int
    seq: int
    at: datetime
    stream: str
    text: str
    partial: bool = False


class _Follower:
    """Who follows one box: the lines that wait for it, bounded as those that are kept, and a bell."""

    def __init__(self) -> None:
        self.lines: collections.deque[LogLine] = collections.deque()
        self.size = 0
        self.bell = asyncio.Event()
        self.closed = False

    def take(self) -> LogLine:
        line = self.lines.popleft()
        self.size -= len(line.text)
        return line

    def add(self, line: LogLine, max_bytes: int) -> None:
        self.lines.append(line)
        self.size += len(line.text)
        while len(self.lines) > _FOLLOWED or (self.size > max_bytes and len(self.lines) > 1):
            self.take()
        self.bell.set()


class Logs:
    """The last lines of one box, bounded by count and by size."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        """Nothing is kept yet."""
        self._max_bytes = max_bytes
        self._lines: collections.deque[LogLine] = collections.deque()
        self._max_lines = max_lines
        self._bytes = 0
        self._count = 0
        self._followers: set[_Follower] = set()

    def next_number(self) -> int:
        """Return the number of the next line."""
        self._count += 1
        return self._count

    def add(self, line: LogLine) -> None:
        """Keep a line, forget the oldest when there are too many, tell who follows."""
        self._lines.append(line)
        self._bytes += len(line.text)
        while len(self._lines) > self._max_lines or (self._bytes > self._max_bytes and len(self._lines) > 1):
            self._bytes -= len(self._lines.popleft().text)
        for follower in self._followers:
            follower.add(line, self._max_bytes)

    def tail(self, stream: str | None, tail: int | None) -> list[LogLine]:
        """Return the last *tail* lines (None: all that are kept) of *stream* (None: of all), oldest first."""
        lines = [line for line in self._lines if stream is None or line.stream == stream]
        return lines if tail is None else lines[-tail:] if tail > 0 else []

    async def follow(self) -> AsyncIterator[LogLine]:
        """Yield each line from now on, until the box is removed."""
        follower = _Follower()
        self._followers.add(follower)
        try:
            while True:
                while follower.lines:
                    yield follower.take()
                if follower.closed:
                    return
                follower.bell.clear()
                await follower.bell.wait()
        finally:
            self._followers.discard(follower)

    def close(self) -> None:
        """End all that follow."""
        for follower in self._followers:
            follower.closed = True
            follower.bell.set()


def relay_to(mode: LogsMode) -> Callable[[LogLine], object]:
    """Return what is done with each line that a box prints."""
    if callable(mode):
        return mode
    if mode == "none":
        return lambda line: None
    return _prefixed if mode == "prefix" else _relayed


def _relayed(line: LogLine) -> None:
    _write(line, visible(line.text))


def _prefixed(line: LogLine) -> None:
    # What a box logs may have lines in it: no line shall seem to be of another box.
    mark = f"[{line.box}] "
    _write(line, mark + visible(line.text).replace("\n", f"\n{mark}"))


def _write(line: LogLine, text: str) -> None:
    target = sys.stdout if line.stream == "stdout" else sys.stderr
    if target is not None and not target.closed:
        target.write(text if line.partial else f"{text}\n")
        target.flush()


def visible(text: str) -> str:
    """Show control characters instead of sending them to a terminal: a box cannot move its cursor."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
