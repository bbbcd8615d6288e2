"""What a node does for others: it takes their messages, answers their questions and hears their bells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from shoal.bus.bells import Bells
from shoal.bus.faults import not_running, stopped
from shoal.bus.owned import OwnedTasks
from shoal.bus.peer import Peer
from shoal.bus.seats import Seat, Seats, settled
from shoal.bus.wire import Ask, Cancel, Count, Frame, Publish, Reply, Ring, Send
from shoal.errors import PayloadError, ProtocolError
from shoal.kernel.fault import fault_of
from shoal.kernel.message import AgentMessage

__all__ = ["Service"]


class Service:
    """Serves the frames of other nodes from the seats of this one."""

    def __init__(self, seats: Seats, bells: Bells, tasks: OwnedTasks) -> None:
        self._seats = seats
        self._bells = bells
        self._tasks = tasks

    def serve(self, peer: Peer, frame: Frame) -> None:
        """Handle one frame. Raises ProtocolError for one that has no place here."""
        match frame:
            case Send():
                self._send(peer, frame)
            case Ask():
                self._ask(peer, frame)
            case Publish():
                self._publish(peer, frame)
            case Ring():
                self._bells.rang_elsewhere(frame.rings)
            case Cancel():
                if answer := peer.serving.pop(frame.ident, None):
                    answer.cancel()
            case _:
                raise ProtocolError(f"{type(frame).__name__} at this point")

    def _send(self, peer: Peer, frame: Send) -> None:
        seat = self._seats.by_address.get(frame.address)
        if seat is None:
            _refuse(peer, frame.ident, not_running(frame.address))
            return
        try:
            waiting = seat.receiver.offer(frame.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender is told
            _refuse(peer, frame.ident, error)
            return
        if waiting is None:
            peer.tell(Reply(frame.ident))
        else:
            self._tasks.start(_taken(peer, frame.ident, waiting), f"shoal-bus-take-{frame.address}")

    def _ask(self, peer: Peer, frame: Ask) -> None:
        seat = self._seats.by_address.get(frame.address)
        if seat is None:
            _refuse(peer, frame.ident, not_running(frame.address))
            return
        try:
            answer = seat.receiver.ask(frame.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker is told
            _refuse(peer, frame.ident, error)
            return
        peer.serving[frame.ident] = answer
        if answer.done():
            _answer(peer, frame, seat, answer)
            return
        seat.asks[answer] = None
        answer.add_done_callback(lambda done: _answer(peer, frame, seat, done))

    def _publish(self, peer: Peer, frame: Publish) -> None:
        try:
            taken, slow = self._seats.publish(frame.topic, frame.message)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if not slow:
            peer.tell(Count(frame.ident, taken))
            return

        async def count() -> None:
            peer.tell(Count(frame.ident, taken + await settled(slow)))

        self._tasks.start(count(), f"shoal-bus-publish-{frame.topic}")


async def _taken(peer: Peer, ident: int, waiting: Awaitable[None]) -> None:
    try:
        await waiting
    except Exception as error:  # noqa: BLE001 - whatever it is, the sender is told
        _refuse(peer, ident, error)
    else:
        peer.tell(Reply(ident))


def _answer(peer: Peer, frame: Ask, seat: Seat, answer: asyncio.Future[AgentMessage]) -> None:
    seat.asks.pop(answer, None)
    asked = peer.serving.pop(frame.ident, None) is not None
    error = stopped(frame.address) if answer.cancelled() else answer.exception()
    if not asked:
        return
    if error is not None:
        _refuse(peer, frame.ident, error)
        return
    try:
        peer.tell(Reply(frame.ident, answer.result()))
    except PayloadError as unsendable:
        _refuse(peer, frame.ident, unsendable)


def _refuse(peer: Peer, ident: int, error: BaseException) -> None:
    peer.tell(Reply(ident, fault=fault_of(error)))
