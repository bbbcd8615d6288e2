"""What a node does for others: it takes their messages, answers their questions and hears their bells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from shoal.bus.bells import Bells
from shoal.bus.connection import Connection
from shoal.bus.faults import fault_of, not_running, stopped
from shoal.bus.owned import OwnedTasks
from shoal.bus.seats import Seat, Seats, settled
from shoal.bus.wire import Ask, Cancel, Count, Frame, Publish, Reply, Ring, Send
from shoal.errors import PayloadError, ProtocolError
from shoal.kernel.message import AgentMessage

__all__ = ["Service"]


class Service:
    """Serves the frames of other nodes from the seats of this one."""

    def __init__(self, seats: Seats, bells: Bells, tasks: OwnedTasks) -> None:
        self._seats = seats
        self._bells = bells
        self._tasks = tasks

    def serve(self, connection: Connection, frame: Frame) -> None:
        """Handle one frame. Raises ProtocolError for one that has no place here."""
        match frame:
            case Send():
                self._send(connection, frame)
            case Ask():
                self._ask(connection, frame)
            case Publish():
                self._publish(connection, frame)
            case Ring():
                self._bells.rang_elsewhere(frame.rings)
            case Cancel():
                if answer := connection.serving.pop(frame.ident, None):
                    answer.cancel()
            case _:
                raise ProtocolError(f"{type(frame).__name__} at this point")

    def _send(self, connection: Connection, frame: Send) -> None:
        seat = self._seats.by_address.get(frame.address)
        if seat is None:
            _refuse(connection, frame.ident, not_running(frame.address))
            return
        try:
            waiting = seat.receiver.offer(frame.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender is told
            _refuse(connection, frame.ident, error)
            return
        if waiting is None:
            connection.tell(Reply(frame.ident))
        else:
            self._tasks.start(_taken(connection, frame.ident, waiting), f"shoal-bus-take-{frame.address}")

    def _ask(self, connection: Connection, frame: Ask) -> None:
        seat = self._seats.by_address.get(frame.address)
        if seat is None:
            _refuse(connection, frame.ident, not_running(frame.address))
            return
        try:
            answer = seat.receiver.ask(frame.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker is told
            _refuse(connection, frame.ident, error)
            return
        seat.asks[answer] = None
        connection.serving[frame.ident] = answer
        answer.add_done_callback(lambda done: _answer(connection, frame, seat, done))

    def _publish(self, connection: Connection, frame: Publish) -> None:
        try:
            taken, slow = self._seats.publish(frame.topic, frame.message)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if not slow:
            connection.tell(Count(frame.ident, taken))
            return

        async def count() -> None:
            connection.tell(Count(frame.ident, taken + await settled(slow)))

        self._tasks.start(count(), f"shoal-bus-publish-{frame.topic}")


async def _taken(connection: Connection, ident: int, waiting: Awaitable[None]) -> None:
    try:
        await waiting
    except Exception as error:  # noqa: BLE001 - whatever it is, the sender is told
        _refuse(connection, ident, error)
    else:
        connection.tell(Reply(ident))


def _answer(connection: Connection, frame: Ask, seat: Seat, answer: asyncio.Future[AgentMessage]) -> None:
    seat.asks.pop(answer, None)
    asked = connection.serving.pop(frame.ident, None) is not None
    error = stopped(frame.address) if answer.cancelled() else answer.exception()
    if not asked:
        return
    if error is not None:
        _refuse(connection, frame.ident, error)
        return
    try:
        connection.tell(Reply(frame.ident, answer.result()))
    except PayloadError as unsendable:
        _refuse(connection, frame.ident, unsendable)


def _refuse(connection: Connection, ident: int, error: BaseException) -> None:
    connection.tell(Reply(ident, fault=fault_of(error)))
