"""What a child prints: read as it comes, cut into lines, its end kept for error texts."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import sys
from collections import deque
from collections.abc import Callable

__all__ = ["Output", "relay"]

_READ = 64 * 1024
_PIPE = 4096  # bytes that a child can print ahead: who prints empty lines must not keep others waiting for long
_LINE = 64 * 1024
_KEPT_LINES = 20
_KEPT_TEXT = 4096


def relay(stream: str, line: str) -> None:
    """Write a line of a child to this process' own stdout or stderr."""
    target = sys.stdout if stream == "stdout" else sys.stderr
    if target is not None and not target.closed:
        target.write(line)
        target.flush()


class Output:
    """The reading end of one of a child's output pipes. ``on_line(stream, line)`` gets each line with its end.

    A line over 64 KiB comes in parts; the last one may lack its line end. ``fd`` is the pipe until ``close``.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, stream: str, on_line: Callable[[str, str], None]
    ) -> None:
        os.set_blocking(fd, False)
        with contextlib.suppress(OSError):  # no pipe
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
        self._loop = loop
        self.fd = fd
        self._stream = stream
        self.on_line = on_line
        self._text = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._closed = False
        loop.add_reader(fd, self.read)

    @property
    def tail(self) -> str:
        """The last lines, at most 4 KiB."""
        return "".join(self._kept)[-_KEPT_TEXT:]

    def read(self) -> bool:
        """Take in what has been printed; False when nothing had, or the end came."""
        if self._closed:
            return False
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._take(self._text.decode(data))
        else:
            self.close()
        return bool(data)

    def drain(self) -> None:
        """Take in all that was printed before now, then give up the pipe: who holds its other end is not waited for."""
        for _ in range(1024):  # somebody who still writes must not keep us here
            if not self.read():
                break
        self.close()

    def _take(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line + "\n")
        while len(self._rest) > _LINE:
            self._line(self._rest[:_LINE])
            self._rest = self._rest[_LINE:]

    def _line(self, line: str) -> None:
        self._kept.append(line)
        self.on_line(self._stream, line)

    def close(self) -> None:
        """Give up the pipe and hand out an unfinished last line."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self.fd)
        os.close(self.fd)
        if self._rest:
            self._line(self._rest)
            self._rest = ""
