"""Files that go into a box and come out of it, below a few directories only. All is done with the box's own rights."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator

from .codec import Record, quote, write_error, write_record
from .frames import CHUNK, JSON, blocks, frame
from .outbox import Outbox

OUTPUT_STREAMS = 1 << 50
"""Streams of collected outputs are numbered from here."""
OUTPUT_LIMIT = 64 << 20
"""Bytes of all collected outputs together."""


class Files:
    """Puts, gets and collects files."""

    def __init__(self, outbox: Outbox, directories: Iterable[str]) -> None:
        self._outbox = outbox
        self._directories = [os.path.realpath(directory) for directory in directories]

    def put(self, record: Record, data: bytes) -> None:
        """Write a file, whole or not at all."""
        try:
            if len(data) != record["size"]:
                raise OSError(f"{record['path']!r}: {len(data)} bytes came of {record['size']}")
            self._write(record["path"], data)
        except Exception as error:  # noqa: BLE001 - the runtime raises it
            self._failed(record, error)
        else:
            self._outbox.post(write_record(type="file", id=record["id"], size=len(data)))

    def get(self, record: Record) -> None:
        """Send a file."""
        try:
            size = 0
            for piece in self._pieces(self._inside(record["path"]), record["limit"]):
                self._send(record["id"], piece)
                size += len(piece)
        except Exception as error:  # noqa: BLE001 - the runtime raises it
            self._failed(record, error)
        else:
            self._outbox.post(write_record(type="file", id=record["id"], size=size))

    def _failed(self, record: Record, error: Exception) -> None:
        text = f'{{"type":{quote("file")},"id":{record["id"]},"error":{write_error(error)}}}'
        self._outbox.post(frame(JSON, text.encode()))

    def _send(self, stream: int, data: bytes) -> None:
        for block in blocks(stream, data):
            self._outbox.post(block)

    def _inside(self, path: str) -> str:
        """Return where *path* leads to. Raises PermissionError when that is outside."""
        real = os.path.realpath(path)
        if not any(real.startswith(os.path.join(directory, "")) for directory in self._directories):
            raise PermissionError(f"{path!r} is not below {' or '.join(self._directories)}")
        return real

    def _write(self, path: str, data: bytes) -> None:
        name = os.path.basename(path)
        if name in ("", ".", ".."):
            raise IsADirectoryError(f"{path!r} is no name of a file")
        target = self._inside(os.path.join(os.path.realpath(os.path.dirname(path) or "."), name))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        beside = f"{os.path.dirname(target)}/.{os.getpid()}-{id(data)}.part"
        try:
            with open(beside, "xb") as file:
                file.write(data)
            os.replace(beside, target)
        except BaseException:
            if os.path.exists(beside):
                os.unlink(beside)
            raise

    @staticmethod
    def _pieces(path: str, limit: int) -> Iterator[bytes]:
        # O_NONBLOCK: a pipe must not keep us here before we have seen that it is one.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb", buffering=0) as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{path!r} is no regular file")
            left = limit
            while piece := file.read(CHUNK):
                left -= len(piece)
                if left < 0:
                    raise OSError(f"{path!r} has more than {limit} bytes")
                yield piece

    def collect(self, patterns: Iterable[str]) -> dict[str, int]:
        """Send what matches the globs; returns the stream of each path. What cannot be sent is named on stderr."""
        import glob

        outputs: dict[str, int] = {}
        left = OUTPUT_LIMIT
        for pattern in patterns:
            for path in sorted(glob.glob(pattern, recursive=True)):
                if path in outputs or not os.path.isfile(path):
                    continue
                try:
                    path.encode()
                    data = b"".join(self._pieces(path, left))
                except UnicodeEncodeError:
                    print(f"{path} is not collected: its name is not UTF-8", file=sys.stderr)
                    continue
                except OSError as error:
                    print(f"{path} is not collected: {error}", file=sys.stderr)
                    continue
                left -= len(data)
                outputs[path] = OUTPUT_STREAMS + len(outputs)
                self._send(outputs[path], data)
        return outputs
