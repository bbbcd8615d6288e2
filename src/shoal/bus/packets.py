"""What nodes send each other through a server: packets of a link, and what all nodes hear."""

from __future__ import annotations

import msgspec

from shoal.bus.bells import Rang
from shoal.errors import ProtocolError

__all__ = ["Beat", "Bye", "Packet", "Reset", "Rung", "SPARE_BYTES", "read", "written"]

SPARE_BYTES = 256
"""What a packet takes beside its data, at most."""


class Packet(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A piece of the stream of frames from one node to another.

    ``session`` is the sender's connection to the server, ``link`` the sender's number of this link, ``number`` the place
    of the packet in it: a gap ends the link. ``seen`` is how many bytes of the other direction have arrived.
    """

    session: str
    link: int
    number: int
    seen: int
    data: bytes


class Reset(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """The link of the receiver with this number has a gap, or is not known: it ends."""

    session: str
    link: int


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """A node is there."""

    node: str
    session: str


class Bye(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """A node leaves."""

    session: str


class Rung(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """Bells."""

    session: str
    rings: list[Rang]


Note = Packet | Reset | Beat | Bye | Rung

written = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


def read(data: bytes) -> Note:
    """Return what *data* says. Raises ProtocolError when it is nothing that a node sends."""
    try:
        note: Note = _decode(data)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise ProtocolError(f"not a packet: {error}") from error
    return note
