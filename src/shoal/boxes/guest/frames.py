"""Frames: 4 bytes length of the body (big endian), 1 byte kind, body. No I/O here.

Kind ``J`` is one JSON object in UTF-8. Kind ``B`` is 8 bytes stream number (big endian) and at most 256 KiB.
"""

from __future__ import annotations

import struct

__all__ = ["BLOCK", "CHUNK", "JSON", "FrameError", "Splitter", "blocks", "frame"]

JSON = ord("J")
BLOCK = ord("B")
CHUNK = 256 * 1024
_HEADER = struct.Struct(">IB")
_STREAM = struct.Struct(">Q")


class FrameError(ValueError):
    """The bytes are no frames. Nothing after them can be trusted."""


def frame(kind: int, body: bytes) -> bytes:
    """Return one frame."""
    return _HEADER.pack(len(body), kind) + body


def blocks(stream: int, data: bytes) -> list[bytes]:
    """Return *data* as the B frames of a stream."""
    number = _STREAM.pack(stream)
    return [frame(BLOCK, number + data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]


class Splitter:
    """Cuts a stream of bytes, which may arrive in any pieces, into frames."""

    def __init__(self, max_frame: int) -> None:
        """Take J bodies of at most *max_frame* bytes."""
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._at = 0
        self._error: FrameError | None = None

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    @property
    def torn(self) -> bool:
        """Whether there is a piece of a frame, of which the rest has not come."""
        return len(self._buffer) > self._at

    def next(self) -> tuple[int, bytes] | None:
        """Return the next whole frame as (kind, body), None when there is none yet. Raises FrameError, for good."""
        if self._error is not None:
            raise self._error
        if len(self._buffer) - self._at < _HEADER.size:
            return None
        length, kind = _HEADER.unpack_from(self._buffer, self._at)
        self._check(length, kind)
        start = self._at + _HEADER.size
        if len(self._buffer) - start < length:
            return None
        self._at = start + length
        return kind, bytes(self._buffer[start : self._at])

    def _check(self, length: int, kind: int) -> None:
        if kind == JSON:
            good = 2 <= length <= self._max_frame
        elif kind == BLOCK:
            good = _STREAM.size <= length <= _STREAM.size + CHUNK
        else:
            self._error = FrameError(f"unknown kind of frame {kind}")
            raise self._error
        if not good:
            self._error = FrameError(f"a frame of kind {chr(kind)} with {length} bytes, allowed are {self._max_frame}")
            raise self._error


def split_block(body: bytes) -> tuple[int, bytes]:
    """Return a B frame's body as (stream number, data)."""
    return _STREAM.unpack_from(body)[0], body[_STREAM.size :]
