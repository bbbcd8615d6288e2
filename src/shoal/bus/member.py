"""A node that is reached through a server: a stream of frames in packets, with a window, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from shoal.bus.packets import SPARE_BYTES, Packet, written
from shoal.bus.peer import Call, Peer
from shoal.bus.wire import Ask, Frame, FrameReader, Publish, Send
from shoal.errors import DeadAgentError, ProtocolError
from shoal.kernel.message import AgentMessage

__all__ = ["Member", "MemberDesk"]

_WINDOW_BYTES = 4 * 1024 * 1024  # on the way to one node: servers cut off those for whom they hold too much
_ACK_BYTES = 512 * 1024
_FEW_ASKED = 2


class MemberDesk(Protocol):
    """What a member asks of its node."""

    session: str

    def dirty(self, member: Member, *, wake: bool = True) -> None:
        """Send what the member has, soon; without *wake* after :meth:`hurry` or :meth:`wake`."""
        ...

    def wake(self) -> None:
        """Send soon what is there."""
        ...

    async def hurry(self) -> None:
        """Send at once when that is little and needs no waiting."""
        ...

    def broken(self, member: Member) -> None:
        """End the link and tell the other side."""
        ...


class Member(Peer):
    """The link to one session of another node. ``theirs`` is its number of the link, None until its first packet."""

    def __init__(self, session: str, link: int, desk: MemberDesk, now: float) -> None:
        super().__init__()
        self.session = session
        self.link = link
        self.theirs: int | None = None
        self.last_heard = now
        self._desk = desk
        self._reader = FrameReader()
        self._lost: Callable[[str], DeadAgentError] | None = None
        self._unsent = bytearray()
        self._held = False
        self._number = 0
        self._sent = self._seen = 0  # bytes of this direction
        self._expected = 0
        self._received = self._told = 0  # bytes of the other direction

    # -- what a link says

    @property
    def is_lost(self) -> bool:
        """Whether the link has ended."""
        return self._lost is not None

    def behind(self) -> int:
        """Return how many bytes have not arrived there yet."""
        return len(self._unsent) + self._sent - self._seen

    def lost_error(self, address: str) -> DeadAgentError | None:
        """Return why nothing can be sent any more; None while the link lives."""
        return self._lost(address) if self._lost is not None else None

    def abort(self) -> None:
        """End the link, here and there."""
        self._desk.broken(self)

    def call(self, kind: type[Send] | type[Ask] | type[Publish], target: str, message: AgentMessage) -> Call:
        """Write a frame that is answered; one to a single address goes out with :meth:`hurry`, which must follow."""
        self._held = kind is not Publish
        try:
            return super().call(kind, target, message)
        finally:
            self._held = False

    async def hurry(self) -> None:
        """Send what was written now; with more questions open, together with those that are asked in this turn."""
        if self.asked <= _FEW_ASKED:
            await self._desk.hurry()
        else:
            self._desk.wake()

    def lost(self, error: Callable[[str], DeadAgentError]) -> None:
        """End all that is open."""
        self._lost = error
        self._unsent.clear()
        self.end_open(error)

    def _write(self, data: bytes) -> None:
        if self._lost is None:
            self._unsent += data
            self._desk.dirty(self, wake=not self._held)

    # -- packets

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._unsent)

    def packets(self, size: int) -> Iterator[bytes]:
        """Yield what may go out now, in packets of at most *size* bytes."""
        size -= SPARE_BYTES
        while self._unsent and (room := _WINDOW_BYTES - (self._sent - self._seen)) > 0:
            data = bytes(self._unsent[: min(size, room)])
            del self._unsent[: len(data)]
            self._sent += len(data)
            yield self._packet(data)
        if self._received - self._told >= _ACK_BYTES and self._lost is None:
            yield self._packet(b"")

    def fits(self, packet: Packet) -> bool:
        """Tell whether it is the next packet of this link."""
        return packet.number == self._expected and self.theirs in (None, packet.link)

    def feed(self, packet: Packet) -> Iterator[Frame]:
        """Yield the frames that *packet* completes. Raises ProtocolError when they are none."""
        if not self._seen <= packet.seen <= self._sent:
            raise ProtocolError(f"{packet.seen} bytes seen of {self._sent}")
        self.theirs = packet.link
        self._expected += 1
        self._seen = packet.seen
        self._received += len(packet.data)
        if self._unsent or self._received - self._told >= _ACK_BYTES:
            self._desk.dirty(self)
        yield from self._reader.feed(packet.data)

    def _packet(self, data: bytes) -> bytes:
        packet = Packet(self._desk.session, self.link, self._number, self._received, data)
        self._number += 1
        self._told = self._received
        return written(packet)
