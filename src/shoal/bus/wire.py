"""Frames between nodes: a length of four bytes, then a tagged struct as MessagePack. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shoal.errors import MessageTooLargeError, PayloadError, ProtocolError
from shoal.kernel.fault import Fault
from shoal.kernel.message import AgentMessage

__all__ = [
    "Ask",
    "Attach",
    "Cancel",
    "Count",
    "Detach",
    "Frame",
    "FrameReader",
    "Hello",
    "MAX_FRAME",
    "Publish",
    "Reply",
    "Ring",
    "Send",
    "Subscribe",
    "Unsubscribe",
    "packed",
    "unpacked",
]

MAX_FRAME = 64 * 1024 * 1024
"""The most bytes of one frame."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first frame of each side: who it is, and what is attached and subscribed there.

    ``instance`` tells two runs of a node with the same id apart.
    """

    node: str
    instance: str
    addresses: list[str]
    subscriptions: list[tuple[str, str]]


class Attach(msgspec.Struct, frozen=True, array_like=True, tag="attach"):
    """An address is there."""

    address: str


class Detach(msgspec.Struct, frozen=True, array_like=True, tag="detach"):
    """An address is gone, and its subscriptions with it."""

    address: str


class Subscribe(msgspec.Struct, frozen=True, array_like=True, tag="subscribe"):
    """An address subscribed to a pattern."""

    address: str
    pattern: str


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True, tag="unsubscribe"):
    """An address ended a subscription."""

    address: str
    pattern: str


class Send(msgspec.Struct, frozen=True, array_like=True, tag="send"):
    """A message for a mailbox; a Reply without a message says that it was taken."""

    ident: int
    address: str
    message: AgentMessage


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """A question; a Reply carries the answer."""

    ident: int
    address: str
    message: AgentMessage


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Nobody waits for the answer to this question any more."""

    ident: int


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """What came of a Send or an Ask."""

    ident: int
    message: AgentMessage | None = None
    fault: Fault | None = None


class Publish(msgspec.Struct, frozen=True, array_like=True, tag="publish"):
    """A message for the subscribers of a topic; a Count says how many took it."""

    ident: int
    topic: str
    message: AgentMessage


class Count(msgspec.Struct, frozen=True, array_like=True, tag="count"):
    """How many mailboxes took a published message."""

    ident: int
    taken: int


class Ring(msgspec.Struct, frozen=True, array_like=True, tag="ring"):
    """What rang in one turn, as pairs of bell and note."""

    rings: list[tuple[str, str]]


Frame = Hello | Attach | Detach | Subscribe | Unsubscribe | Send | Ask | Cancel | Reply | Publish | Count | Ring

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def packed(frame: Frame) -> bytes:
    """Return the bytes of a frame. Raises PayloadError (cannot travel), MessageTooLargeError."""
    try:
        body = _encode(frame)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"data cannot travel to another node: {error}", path="data") from error
    if len(body) > MAX_FRAME:
        raise MessageTooLargeError(len(body), MAX_FRAME, path="message")
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that *data* completes. Raises ProtocolError when they are none."""
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes, the limit is {MAX_FRAME}")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(memoryview(self._buffer)[4 : 4 + size])
            del self._buffer[: 4 + size]
            yield unpacked(body)


def unpacked(body: bytes) -> Frame:
    """Return the frame of a body. Raises ProtocolError when it is none."""
    try:
        frame: Frame = _decode(body)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise ProtocolError(f"not a frame: {error}") from error
    return frame
