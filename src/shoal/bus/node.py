"""The verbs of a bus: within this node by plain calls, to the others by the links that a backend keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from shoal.bus.bells import Bells, Rang
from shoal.bus.faults import node_lost, not_running, stopped
from shoal.bus.peer import Call, Peer
from shoal.bus.seats import Answer, Seats, answered, settled
from shoal.bus.wire import Ask, Attach, Cancel, Detach, Publish, Send, Subscribe, Unsubscribe
from shoal.errors import DeadAgentError, MailboxFullError
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Clock, Receiver, Wire

__all__ = ["NodeBus", "Others"]

_TAKE_SECONDS = 10.0  # for a node to say that a message was taken: one that is frozen must not hold its senders
_COUNT_SECONDS = 2.0  # for a node to say how many took a published message; later ones are not counted


class Others(Protocol):
    """The links to the other nodes."""

    @property
    def connections(self) -> Mapping[str, Peer]:
        """The accepted ones, by node."""
        ...

    async def start(self, node: str) -> None:
        """Connect, and wait shortly for the greetings of who is there."""
        ...

    async def stop(self) -> None:
        """Write what is buffered, within a second, and leave."""
        ...

    def find(self, address: str) -> Peer | None:
        """Return the link to the node that has attached *address*."""
        ...

    def tell(self, frame: Attach | Detach | Subscribe | Unsubscribe) -> None:
        """Tell every node of a change here."""
        ...

    def ring(self, rings: list[Rang]) -> None:
        """Carry bells to every node that is not too far behind to hear them."""
        ...


class NodeBus:
    """One node's bus. See :class:`shoal.kernel.ports.Bus` for what each verb promises."""

    wire: Wire | None = None

    def __init__(self, clock: Clock, others: Callable[[Seats, Bells], Others | None]) -> None:
        """*others* makes the links to the other nodes, not started; None keeps the bus within this object."""
        self._clock = clock
        self._seats = Seats()
        self._by_address = self._seats.by_address
        self._bells = Bells(self._carry)
        self._make_others = others
        self._peers: Others | None = None

    async def start(self, node_id: str) -> None:
        """Connect, and begin to hear other nodes. Raises ConfigError, BusError (its server cannot be reached)."""
        self._bells.open()
        peers = self._peers = self._make_others(self._seats, self._bells)
        if peers is not None:
            try:
                await peers.start(node_id)
            except BaseException:
                self._peers = None
                await peers.stop()
                raise

    async def stop(self) -> None:
        """Leave: what rang is carried, open requests end, what is written goes out within a second."""
        self._bells.close()
        for address in list(self._by_address):
            self.detach(address, stopped(address))
        peers = self._peers
        if peers is not None:
            await self._clock.sleep(0)  # the answers to other nodes are written in the next turn
            self._peers = None
            await peers.stop()

    def attach(self, address: str, receiver: Receiver) -> None:
        """Stand behind an address. Raises RuntimeStateError when it is attached here already."""
        self._seats.attach(address, receiver)
        if self._peers is not None:
            self._peers.tell(Attach(address))

    def detach(self, address: str, error: BaseException | None = None) -> None:
        """Leave an address: its subscriptions end, and those who wait for its answer get *error*."""
        if self._seats.detach(address, error) and self._peers is not None:
            self._peers.tell(Detach(address))

    def has(self, address: str) -> bool:
        """Tell whether some node has attached the address."""
        return address in self._by_address or self._elsewhere(address) is not None

    def local(self, address: str) -> Receiver | None:
        """Return the receiver when this node has it."""
        seat = self._by_address.get(address)
        return seat.receiver if seat is not None else None

    async def send(self, address: str, message: AgentMessage) -> None:
        """Bring a message to a mailbox. Raises DeadAgentError, MailboxFullError."""
        seat = self._by_address.get(address)
        if seat is None:
            await self._send_elsewhere(address, message)
            return
        waiting = seat.receiver.offer(message)
        if waiting is not None:
            await waiting

    async def request(self, address: str, message: AgentMessage, timeout: float | None) -> AgentMessage:
        """Bring a message and wait up to *timeout* seconds (None: without limit) for its answer."""
        seat = self._by_address.get(address)
        if seat is None:
            return await self._request_elsewhere(address, message, timeout)
        answer = seat.receiver.ask(message)
        if answer.done() and not answer.cancelled():
            return answer.result()
        asks = seat.asks
        asks[answer] = None
        try:
            return await answered(answer, address, timeout, self._clock)
        finally:
            asks.pop(answer, None)

    async def publish(self, topic: str, message: AgentMessage) -> int:
        """Bring a message to all subscribers but its sender; return how many mailboxes took it."""
        # The other nodes first: a message that cannot travel is refused before anybody has it.
        calls = self._publish_elsewhere(topic, message) if self._peers is not None else []
        taken, slow = self._seats.publish(topic, message)
        if slow:
            taken += await settled(slow)
        if calls:
            taken += await self._counted(calls)
        return taken

    def subscribe(self, address: str, pattern: str) -> None:
        """Add a subscription. Raises ValueError (no pattern), DeadAgentError (the address is not attached here)."""
        if self._seats.subscribe(address, pattern) and self._peers is not None:
            self._peers.tell(Subscribe(address, pattern))

    def unsubscribe(self, address: str, pattern: str) -> None:
        """End a subscription; ending one that is not there does nothing."""
        if self._seats.topics.remove(address, pattern) and self._peers is not None:
            self._peers.tell(Unsubscribe(address, pattern))

    def ring(self, bell: str, note: str = "", *, here: bool = True) -> None:
        """Wake the hearers of *bell* on every node, or on every other one, once per turn of the event loop."""
        self._bells.ring(bell, note, here)

    def hear(self, bell: str, callback: Callable[[str], object]) -> Callable[[], None]:
        """Call *callback* with the note whenever the bell rings; returns an undo."""
        return self._bells.hear(bell, callback)

    def give_up(self, node_id: str) -> None:
        """Hear that a node is lost. Whoever waits for its answers hears it at once; nothing more is sent there."""
        peer = None if self._peers is None else self._peers.connections.get(node_id)
        if peer is not None and not peer.given_up:
            peer.give_up()

    # -- the other nodes

    def _carry(self, rings: list[Rang]) -> None:
        if self._peers is not None:
            self._peers.ring(rings)

    def _elsewhere(self, address: str) -> Peer | None:
        peer = self._peers.find(address) if self._peers is not None else None
        return None if peer is None or peer.given_up else peer

    async def _send_elsewhere(self, address: str, message: AgentMessage) -> None:
        peer = self._elsewhere(address)
        if peer is None:
            raise not_running(address)
        ident, taken, _ = peer.call(Send, address, message)

        def give_up() -> None:
            if not taken.done():
                taken.set_exception(node_lost(peer.node, address))

        timer = self._clock.call_later(_TAKE_SECONDS, give_up)
        try:
            await peer.hurry()
            await taken
        finally:
            timer.cancel()
            peer.forget(ident)

    async def _request_elsewhere(self, address: str, message: AgentMessage, timeout: float | None) -> AgentMessage:
        peer = self._elsewhere(address)
        if peer is None:
            raise not_running(address)
        ident, answer, _ = peer.call(Ask, address, message)
        try:
            await peer.hurry()
            return await answered(cast(Answer, answer), address, timeout, self._clock)
        finally:
            if peer.forget(ident):
                peer.tell(Cancel(ident))

    def _publish_elsewhere(self, topic: str, message: AgentMessage) -> list[Call]:
        assert self._peers is not None
        calls: list[Call] = []
        for each in list(self._peers.connections.values()):
            if each.topics.subscribers(topic):
                with contextlib.suppress(MailboxFullError, DeadAgentError):  # it may be lost, and is not counted then
                    calls.append(each.call(Publish, topic, message))
        return calls

    async def _counted(self, calls: list[Call]) -> int:
        timer = self._clock.call_later(_COUNT_SECONDS, lambda: _uncounted(calls))
        taken = 0
        try:
            for call in calls:
                with contextlib.suppress(DeadAgentError):
                    count = await call.answer
                    taken += count if isinstance(count, int) else 0
        finally:
            timer.cancel()
            for call in calls:
                call.peer.forget(call.ident)
        return taken


def _uncounted(calls: list[Call]) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_result(0)
