"""One connection to another node: frames in and out, and the questions that are open on it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import NamedTuple, Protocol, cast

from shoal.bus.faults import error_of, node_lost
from shoal.bus.topics import TopicIndex
from shoal.bus.wire import Ask, Count, Frame, FrameReader, Hello, Publish, Reply, Send, packed
from shoal.errors import MailboxFullError, ProtocolError
from shoal.kernel.message import AgentMessage

__all__ = ["Call", "Connection", "Desk"]

_log = logging.getLogger("shoal.bus")

_FULL_BYTES = 8 * 1024 * 1024  # a peer this far behind gets no new messages and bells
_LOST_BYTES = (
    80 * 1024 * 1024
)  # one that lets answers pile up to here is cut off: losing one would leave an asker waiting


class Call(NamedTuple):
    """A frame that waits for its answer."""

    ident: int
    answer: asyncio.Future[AgentMessage | int | None]
    connection: Connection


class Desk(Protocol):
    """What a connection tells its node."""

    def heard(self, connection: Connection, frame: Frame) -> None:
        """Handle a frame. Raises ProtocolError, which closes the connection."""
        ...

    def lost(self, connection: Connection) -> None:
        """Forget a connection; called once."""
        ...


class Connection(asyncio.Protocol):
    """One connection. ``node`` is empty until its Hello was accepted; ``greeted`` once ours was sent."""

    def __init__(self, desk: Desk, dialed: str | None = None) -> None:
        """*dialed* is the name of the socket that this side has called; None when it was called."""
        loop = asyncio.get_running_loop()
        self.dialed = dialed
        self.node = ""
        self.instance = ""
        self.greeted = False
        self.addresses: set[str] = set()
        self.topics = TopicIndex()
        self.serving: dict[int, asyncio.Future[AgentMessage]] = {}
        self.settled: asyncio.Future[None] = loop.create_future()  # accepted, refused or lost
        self.closed: asyncio.Future[None] = loop.create_future()
        self._desk = desk
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._reader = FrameReader()
        self._open: dict[int, tuple[str, asyncio.Future[AgentMessage | int | None]]] = {}
        self._idents = itertools.count(1)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to write."""
        self._transport = cast(asyncio.Transport, transport)
        if self._closing:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle the frames in *data*."""
        try:
            for frame in self._reader.feed(data):
                if self.closed.done() or self._transport is None or self._transport.is_closing():
                    return
                self._heard(frame)
        except ProtocolError as error:
            _log.warning("closing the connection to node %s: %s", self.node or "(unknown)", error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that was open."""
        for address, future in self._open.values():
            if not future.done():
                future.set_exception(node_lost(self.node, address))
        self._open.clear()
        for answer in self.serving.values():
            answer.cancel()
        for fact in (self.settled, self.closed):
            if not fact.done():
                fact.set_result(None)
        self._desk.lost(self)

    # -- what the node calls

    def accept(self, hello: Hello) -> None:
        """Take over what the other side said of itself."""
        self.node, self.instance = hello.node, hello.instance
        self.addresses.update(hello.addresses)
        for address, pattern in hello.subscriptions:
            self.topics.add(address, pattern)
        if not self.settled.done():
            self.settled.set_result(None)

    def offer(self, frame: Frame) -> bool:
        """Write a frame that may be lost; False when the other side is too far behind for it."""
        if self._behind() > _FULL_BYTES:
            return False
        self._write(packed(frame))
        return True

    def tell(self, frame: Frame) -> None:
        """Write a frame that must not be lost as long as the connection lives."""
        if self._behind() > _LOST_BYTES:
            _log.warning("closing the connection to node %s: it does not read", self.node)
            self.abort()
            return
        self._write(packed(frame))

    def call(self, kind: type[Send] | type[Ask] | type[Publish], target: str, message: AgentMessage) -> Call:
        """Write a frame that is answered. Raises MailboxFullError (the other side is far behind), DeadAgentError."""
        if self._transport is None or self._transport.is_closing():
            raise node_lost(self.node, target)
        ident = next(self._idents)
        if not self.offer(kind(ident, target, message)):
            raise MailboxFullError([target], _FULL_BYTES)
        future: asyncio.Future[AgentMessage | int | None] = asyncio.get_running_loop().create_future()
        self._open[ident] = (target, future)
        return Call(ident, future, self)

    def forget(self, ident: int) -> bool:
        """Drop what is open under this number; False when it was answered."""
        return self._open.pop(ident, None) is not None

    def close(self) -> None:
        """Write what is buffered, then close."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _heard(self, frame: Frame) -> None:
        if not isinstance(frame, Reply | Count):
            self._desk.heard(self, frame)
            return
        _, future = self._open.pop(frame.ident, (None, None))
        if future is None or future.done():
            return  # it came too late
        if isinstance(frame, Count):
            future.set_result(frame.taken)
        elif frame.fault is not None:
            future.set_exception(error_of(frame.fault))
        else:
            future.set_result(frame.message)

    def _behind(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
