"""What runs over the serial port of a virtual machine, between its init (``shim.py``) and the host (``vmrelay.py``).

One record: 1 byte kind, 4 bytes length (big endian), body. Standard library only: both sides are started as scripts.
"""

from __future__ import annotations

import struct

__all__ = [
    "BOOTED",
    "CHANNEL",
    "EXIT",
    "LARGEST",
    "SETUP",
    "SIGNAL",
    "STDERR",
    "STDOUT",
    "BrokenWire",
    "Records",
    "record",
]

CHANNEL = ord("c")  # both ways: bytes of the guest's channel; an empty body is its end
SETUP = ord("s")  # to the machine, once: JSON
SIGNAL = ord("k")  # to the machine: the number of a signal for every process of the box
BOOTED = ord("b")  # from the machine: it wants its setup
STDOUT = ord("o")  # from the machine: what the guest printed
STDERR = ord("e")
EXIT = ord("x")  # from the machine, the last: exit code (128 + n after death by signal n), 1 if out of memory

LARGEST = 1 << 20
_HEADER = struct.Struct(">BI")
_KINDS = frozenset((CHANNEL, SETUP, SIGNAL, BOOTED, STDOUT, STDERR, EXIT))


class BrokenWire(ValueError):
    """The bytes are no records. Nothing after them can be trusted."""


def record(kind: int, body: bytes = b"") -> bytes:
    """Return one record."""
    return _HEADER.pack(kind, len(body)) + body


class Records:
    """Cuts a stream of bytes, which may arrive in any pieces, into records."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take more bytes and return the records that are whole now. Raises BrokenWire."""
        self._buffer += data
        found = []
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer, at)
            if kind not in _KINDS or length > LARGEST:
                raise BrokenWire(f"a record of kind {kind} with {length} bytes")
            end = at + _HEADER.size + length
            if end > len(self._buffer):
                break
            found.append((kind, bytes(self._buffer[at + _HEADER.size : end])))
            at = end
        del self._buffer[:at]
        return found
