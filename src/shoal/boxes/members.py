"""Who takes part in the talk between boxes: each with its mailbox, its open requests and what it has been given."""

from __future__ import annotations

import collections
from typing import Protocol

import msgspec

from shoal.boxes.backlog import Backlog
from shoal.boxes.policy import event_matches
from shoal.boxes.spec import BoxLimits
from shoal.boxes.wire import ErrorRecord
from shoal.kernel.ports import Timer

__all__ = ["Counts", "Member", "Parcel", "Port", "Request", "member_of"]

_MIB = 1 << 20
HELD_COUNT = 16
HELD_BYTES = 1 << 20


class Counts(msgspec.Struct):
    """What a member has done so far."""

    sent: int = 0
    received: int = 0
    events_out: int = 0
    events_in: int = 0
    late_replies: int = 0
    dropped_events: int = 0


class Request(msgspec.Struct, eq=False):
    """A question that waits for its answer. ``number`` is the router's, ``send_id`` the sender's own.

    ``parent`` is the question that the sender was working on: all of one chain have the same ``chain``. ``blocks``: its
    sender handles nothing else until it is answered.
    """

    number: int
    sender: Member
    send_id: int
    target: Member
    parent: Request | None
    chain: int
    depth: int
    began: float
    blocks: bool
    timer: Timer | None = None
    open: bool = True


class Parcel(msgspec.Struct, eq=False):
    """A message or an event on its way to a member. ``over``: the send of the receiver that it is handled on top of."""

    number: int
    sender: str
    data: msgspec.Raw
    size: int
    event: str | None = None
    request: Request | None = None
    over: int | None = None


class Port(Protocol):
    """How a member is spoken to. Nothing here may raise or call back into the router at once.

    ``backlog``: what it has not taken yet, None for a member that takes everything at once.
    """

    @property
    def backlog(self) -> Backlog | None:
        """What it has been sent and has not taken."""
        ...

    def give(self, parcel: Parcel) -> None:
        """Hand over a message or an event."""
        ...

    def withdraw(self, number: int) -> None:
        """Tell that nobody waits for that message any more."""
        ...

    def answer(self, send_id: int, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        """Bring the answer to what it sent or published."""
        ...


class Member:
    """One box while its program runs, or the host. ``settled``: it is known what it takes."""

    def __init__(
        self, name: str, port: Port, *, max_count: int, max_bytes: int, in_flight: int, interleave: bool = False
    ) -> None:
        """It takes nothing yet."""
        self.name = name
        self.port = port
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.in_flight = in_flight
        self.interleave = interleave
        self.counts = Counts()
        self.settled = False
        self.messages = False
        self.events: tuple[str, ...] = ()
        self.alive = True
        self.open = True  # takes new messages and events
        self.mailbox: collections.deque[Parcel] = collections.deque()
        self.mailbox_bytes = 0
        self.given: dict[int, Parcel] = {}
        self.given_bytes = 0  # of what counts: what was admitted on top of a wait does not
        self.given_count = 0
        self.waits: dict[int, Request] = {}  # its own open questions, by its own number, oldest first
        self.asked: dict[int, Request] = {}  # open questions to it, by number

    def takes_event(self, event: str) -> bool:
        """Tell whether it has subscribed to *event*."""
        return self.open and any(event_matches(pattern, event) for pattern in self.events)

    def has_room(self, size: int) -> bool:
        """Tell whether its mailbox takes one more of *size* bytes; an empty one takes any."""
        if not self.mailbox:
            return True
        return len(self.mailbox) < self.max_count and self.mailbox_bytes + size <= self.max_bytes

    def put(self, parcel: Parcel) -> None:
        """Take a parcel: now if it goes on top of a wait, else in its turn."""
        if parcel.over is not None:
            self.given[parcel.number] = parcel
            self.port.give(parcel)
            return
        self.mailbox.append(parcel)
        self.mailbox_bytes += parcel.size
        self.pump()

    def close(self) -> None:
        """Take nothing new, and hand over at once all that was taken."""
        self.open = False
        self.settled = True
        self.pump()

    def pump(self) -> None:
        """Hand over from the mailbox what the member may hold undone at once."""
        while self.mailbox and self.settled and self.alive:
            size = self.mailbox[0].size
            if (
                self.open
                and self.given_count
                and (self.given_count >= HELD_COUNT or self.given_bytes + size > HELD_BYTES)
            ):
                return
            parcel = self.mailbox.popleft()
            self.mailbox_bytes -= size
            self.given[parcel.number] = parcel
            self.given_count += 1
            self.given_bytes += size
            self.port.give(parcel)

    def take_back(self, number: int) -> Parcel | None:
        """Forget what it was given under that number: it is done. None when it holds no such thing."""
        parcel = self.given.pop(number, None)
        if parcel is not None and parcel.over is None:
            self.given_count -= 1
            self.given_bytes -= parcel.size
        return parcel

    def drop_queued(self, number: int) -> bool:
        """Take a message out of the mailbox; False when it is not there."""
        for parcel in self.mailbox:
            if parcel.number == number:
                self.mailbox.remove(parcel)
                self.mailbox_bytes -= parcel.size
                return True
        return False

    def blocked_on(self) -> Request | None:
        """Return the question that its main thread waits for, when it can do nothing else until that is answered."""
        if self.interleave:
            return None
        top = next((request for request in reversed(self.waits.values()) if request.blocks), None)
        if top is None or any(parcel.over == top.send_id for parcel in self.given.values()):
            return None
        return top


def member_of(name: str, port: Port, limits: BoxLimits, interleave: bool) -> Member:
    """Return the member that a box of these limits is."""
    return Member(
        name,
        port,
        max_count=limits.mailbox_messages,
        max_bytes=int(limits.mailbox_mib * _MIB),
        in_flight=limits.in_flight,
        interleave=interleave,
    )
