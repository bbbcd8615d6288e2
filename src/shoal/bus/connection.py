"""One connection to another node of this machine: frames in and out over a Unix socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from shoal.bus.faults import node_lost
from shoal.bus.peer import LOST_BYTES, Peer
from shoal.bus.wire import Count, Frame, FrameReader, Reply
from shoal.errors import DeadAgentError, ProtocolError

__all__ = ["Connection", "Desk"]

_log = logging.getLogger("shoal.bus")


class Desk(Protocol):
    """What a connection tells its node."""

    def heard(self, connection: Connection, frame: Frame) -> None:
        """Handle a frame. Raises ProtocolError, which closes the connection."""
        ...

    def lost(self, connection: Connection) -> None:
        """Forget a connection; called once."""
        ...


class Connection(Peer, asyncio.Protocol):
    """One connection."""

    def __init__(self, desk: Desk, dialed: str | None = None) -> None:
        """*dialed* is the name of the socket that this side has called; None when it was called."""
        super().__init__()
        self.dialed = dialed
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._desk = desk
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._reader = FrameReader()

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
                if isinstance(frame, Reply | Count):
                    self.answered(frame)
                else:
                    self._desk.heard(self, frame)
        except ProtocolError as error:
            _log.warning("closing the connection to node %s: %s", self.node or "(unknown)", error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that was open."""
        self.end_open()
        if not self.closed.done():
            self.closed.set_result(None)
        self._desk.lost(self)

    # -- what the node calls

    def lost_error(self, address: str) -> DeadAgentError | None:
        """Return why nothing can be sent any more; None while the connection stands."""
        if self._transport is None or self._transport.is_closing():
            return node_lost(self.node, address)
        return None

    def behind(self) -> int:
        """Return how many bytes wait in this process: the kernel holds little more."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self) -> None:
        """Write what is buffered, then close."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.behind() > LOST_BYTES:
            _log.warning("closing the connection to node %s: it does not read", self.node)
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
