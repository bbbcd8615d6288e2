"""Another node, as long as the link to it lives: who sits there, and the questions that are open on the link."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import NamedTuple

from shoal.bus.faults import node_lost
from shoal.bus.topics import TopicIndex
from shoal.bus.wire import Ask, Count, Frame, Hello, Publish, Reply, Send, packed
from shoal.errors import DeadAgentError, MailboxFullError
from shoal.kernel.fault import error_of
from shoal.kernel.message import AgentMessage

__all__ = ["Call", "FULL_BYTES", "LOST_BYTES", "Peer"]

FULL_BYTES = 8 * 1024 * 1024
"""A peer this far behind gets no new messages and bells."""
LOST_BYTES = 80 * 1024 * 1024
"""One that lets answers pile up to here is cut off: losing one would leave an asker waiting."""

_Open = tuple[str, asyncio.Future[AgentMessage | int | None]]


class Call(NamedTuple):
    """A frame that waits for its answer."""

    ident: int
    answer: asyncio.Future[AgentMessage | int | None]
    peer: Peer


class Peer:
    """What every link has. ``node`` is empty until its Hello was accepted; ``greeted`` once ours was sent."""

    def __init__(self) -> None:
        self.node = ""
        self.instance = ""
        self.greeted = False
        self.given_up = False  # its node is lost, though the link stands
        self.addresses: set[str] = set()
        self.topics = TopicIndex()
        self.serving: dict[int, asyncio.Future[AgentMessage]] = {}
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # accepted, refused or lost
        self._open: dict[int, _Open] = {}
        self._idents = itertools.count(1)

    # -- what a kind of link says

    def behind(self) -> int:
        """Return how many bytes the other side has not taken yet."""
        raise NotImplementedError

    def lost_error(self, address: str) -> DeadAgentError | None:
        """Return why nothing can be sent to *address* any more; None while the link lives."""
        raise NotImplementedError

    def abort(self) -> None:
        """End the link at once."""
        raise NotImplementedError

    async def hurry(self) -> None:
        """Send what was written, where it would wait for more and nothing more is to be expected."""

    def _write(self, data: bytes) -> None:
        raise NotImplementedError

    # -- what the node calls

    def accept(self, hello: Hello) -> None:
        """Take over what the other side said of itself."""
        self.node, self.instance = hello.node, hello.instance
        self.addresses.update(hello.addresses)
        for address, pattern in hello.subscriptions:
            self.topics.add(address, pattern)
        self._settle()

    def offer(self, frame: Frame) -> bool:
        """Write a frame that may be lost; False when the other side is too far behind for it."""
        if self.behind() > FULL_BYTES:
            return False
        self._write(packed(frame))
        return True

    def tell(self, frame: Frame) -> None:
        """Write a frame that must not be lost as long as the link lives."""
        if self.behind() > LOST_BYTES:
            self.abort()
            return
        self._write(packed(frame))

    def call(self, kind: type[Send] | type[Ask] | type[Publish], target: str, message: AgentMessage) -> Call:
        """Write a frame that is answered. Raises MailboxFullError (the other side is far behind), DeadAgentError."""
        lost = self.lost_error(target)
        if lost is not None:
            raise lost
        ident = next(self._idents)
        if not self.offer(kind(ident, target, message)):
            raise MailboxFullError([target], FULL_BYTES)
        future: asyncio.Future[AgentMessage | int | None] = asyncio.get_running_loop().create_future()
        self._open[ident] = (target, future)
        return Call(ident, future, self)

    @property
    def asked(self) -> int:
        """How many calls are open."""
        return len(self._open)

    def forget(self, ident: int) -> bool:
        """Drop what is open under this number; False when it was answered."""
        return self._open.pop(ident, None) is not None

    def give_up(self) -> None:
        """End what is open: the node is lost, and will not answer, though the link stands (it is frozen, perhaps)."""
        self.given_up = True
        for address, future in self._open.values():
            if not future.done():
                future.set_exception(node_lost(self.node, address))
        self._open.clear()

    # -- for the kinds of links

    def answered(self, frame: Reply | Count) -> None:
        """End what is open under the number of the frame; one that comes too late does nothing."""
        _, future = self._open.pop(frame.ident, (None, None))
        if future is None or future.done():
            return
        if isinstance(frame, Count):
            future.set_result(frame.taken)
        elif frame.fault is not None:
            future.set_exception(error_of(frame.fault))
        else:
            future.set_result(frame.message)

    def end_open(self, error: Callable[[str], DeadAgentError] | None = None) -> None:
        """End all that is open here with an error, and all that this node does for the other side."""
        for address, future in self._open.values():
            if not future.done():
                future.set_exception(error(address) if error is not None else node_lost(self.node, address))
        self._open.clear()
        for answer in list(self.serving.values()):
            answer.cancel()
        self._settle()

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)
