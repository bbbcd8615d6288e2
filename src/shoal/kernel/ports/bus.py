"""What carries live messages and rings bells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from shoal.kernel.message import AgentMessage

__all__ = ["Bell", "Bus", "Receiver", "Wire"]

_BETWEEN = "\x1f"


class Receiver(Protocol):
    """What stands behind an address."""

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message. Raises MailboxFullError; an awaitable when it must reach the disk first (paused)."""
        ...

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take a message that expects a reply; the future ends with it, or with the error that says why there is none.

        The bus ends the future itself when the wait ends first (time-out, detach, stop, asker cancelled): whoever
        answers looks at ``done()`` before.
        """
        ...


class Bell:
    """A bell that is to ring on the other nodes once a write is committed: by a store that wakes them with its commits,
    which sets ``rung`` then, or by whoever has asked for the write."""

    __slots__ = ("name", "note", "rung")

    def __init__(self, name: str, note: str = "") -> None:
        self.name = name
        self.note = note
        self.rung = False

    def ring_by(self, bus: Bus) -> None:
        """Ring, unless the store has done it."""
        if not self.rung:
            bus.ring(self.name, self.note, here=False)


class Wire(msgspec.Struct, frozen=True):
    """Channels of a database on which the nodes of a bus hear bells that ring with commits.

    ``channels`` returns those on which to ring now, none when nobody else is there; ``origin`` is what a node knows its own
    bells by.
    """

    origin: str
    channels: Callable[[], Sequence[str]]

    def payload(self, bell: Bell) -> str:
        """Return what is said there."""
        return _BETWEEN.join((self.origin, bell.name, bell.note))

    def told(self, payload: str) -> tuple[str, str] | None:
        """Return the bell's name and note; None when it is this node's own. Raises ValueError: it is no bell."""
        origin, name, note = payload.split(_BETWEEN, 2)
        return None if origin == self.origin else (name, note)


class Bus(Protocol):
    """Live messages and bells; at most once. Whoever asked gets an answer: the reply, the error, or why there is none.

    An address is an agent's id. The bus knows which addresses its own and other nodes have attached. A bell that is
    lost costs its hearers one poll interval and nothing else. ``wire``: where a store in the same database may ring; None
    for a bus that is not in one.
    """

    wire: Wire | None

    async def start(self, node_id: str) -> None:
        """Connect, and begin to hear other nodes."""
        ...

    async def stop(self) -> None:
        """Leave. Requests still open end with DeadAgentError."""
        ...

    def attach(self, address: str, receiver: Receiver) -> None:
        """Stand behind an address."""
        ...

    def detach(self, address: str, error: BaseException | None = None) -> None:
        """Leave an address: its subscriptions end, and those who wait for its answer get *error*."""
        ...

    def has(self, address: str) -> bool:
        """Tell whether some node has attached the address."""
        ...

    def local(self, address: str) -> Receiver | None:
        """Return the receiver when this node has it."""
        ...

    async def send(self, address: str, message: AgentMessage) -> None:
        """Bring a message to a mailbox. Raises DeadAgentError (not_running), MailboxFullError."""
        ...

    async def request(self, address: str, message: AgentMessage, timeout: float | None) -> AgentMessage:
        """Bring a message and wait for its answer.

        Raises DeadAgentError at once when nobody is there, and within 1 s of a death; ResponseTimeoutError;
        NoHandlerError, RequestFailedError, DeadlockError and what else the other side raised.
        """
        ...

    async def publish(self, topic: str, message: AgentMessage) -> int:
        """Bring a message to all subscribers of the moment but its sender; return how many mailboxes took it."""
        ...

    def subscribe(self, address: str, pattern: str) -> None:
        """Add a subscription of an attached address (words by dots, ``*``, last ``>``)."""
        ...

    def unsubscribe(self, address: str, pattern: str) -> None:
        """End a subscription; ending one that is not there does nothing."""
        ...

    def give_up(self, node_id: str) -> None:
        """Hear that a node is lost. Whoever waits for its answers gets DeadAgentError at once, also when the node is only
        frozen; nobody has its addresses any more, as long as it does not connect anew."""
        ...

    def ring(self, bell: str, note: str = "", *, here: bool = True) -> None:
        """Wake the hearers of *bell* on every node, with *here* on this one as well. Never blocks, never raises."""
        ...

    def hear(self, bell: str, callback: Callable[[str], object]) -> Callable[[], None]:
        """Call *callback* with the note whenever the bell rings; returns an undo."""
        ...
