"""The addresses of one node: who sits there, who waits for whose answer, and who subscribed to what."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable

from shoal.bus.faults import not_running, stopped
from shoal.bus.topics import TopicIndex
from shoal.errors import DeadAgentError, MailboxFullError, ResponseTimeoutError, RuntimeStateError, ShoalError
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Clock, Receiver

__all__ = ["Answer", "Seat", "Seats", "answered", "settled"]

_log = logging.getLogger("shoal.bus")
Answer = asyncio.Future[AgentMessage]


class Seat:
    """An attached address. ``asks`` holds every question that has no answer yet, so that none outlives the seat."""

    __slots__ = ("asks", "receiver")

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.asks: dict[Answer, None] = {}  # a set would take 0.15 KB more of each


class Seats:
    """What is attached to one node."""

    def __init__(self) -> None:
        self.by_address: dict[str, Seat] = {}
        self.topics = TopicIndex()

    def attach(self, address: str, receiver: Receiver) -> None:
        """Take an address."""
        if address in self.by_address:
            raise RuntimeStateError(f"Address {address[:80]!r} is attached already")
        self.by_address[address] = Seat(receiver)

    def detach(self, address: str, error: BaseException | None) -> bool:
        """Leave an address and end what waits for it with *error*; False when it was not attached."""
        seat = self.by_address.pop(address, None)
        if seat is None:
            return False
        self.topics.drop(address)
        for answer in seat.asks:
            if not answer.done():
                # Each asker raises an error of its own: a shared one would collect all their tracebacks.
                answer.set_exception(copy.copy(error) if isinstance(error, ShoalError) else error or stopped(address))
        return True

    def subscribe(self, address: str, pattern: str) -> bool:
        """Add a subscription; False when it was there."""
        if address not in self.by_address:
            raise not_running(address)
        return self.topics.add(address, pattern)

    def publish(self, topic: str, message: AgentMessage) -> tuple[int, list[tuple[str, Awaitable[None]]]]:
        """Offer to the subscribers; return how many took it, and what those wait for who need time to take it."""
        taken = 0
        slow: list[tuple[str, Awaitable[None]]] = []
        sender, seats = message.sender_id, self.by_address
        for address in self.topics.subscribers(topic):
            if address == sender:
                continue
            try:
                waiting = seats[address].receiver.offer(message)
            except ShoalError as error:
                _skip(address, error)
                continue
            if waiting is None:
                taken += 1
            else:
                slow.append((address, waiting))
        return taken, slow


async def settled(slow: list[tuple[str, Awaitable[None]]]) -> int:
    """Wait until slow receivers took or refused a published message; return how many took it."""
    taken = 0
    for address, waiting in slow:
        try:
            await waiting
        except ShoalError as error:
            _skip(address, error)
        else:
            taken += 1
    return taken


async def answered(answer: Answer, address: str, seconds: float | None, clock: Clock) -> AgentMessage:
    """Wait for an answer.

    Raises:
        ResponseTimeoutError: none came within *seconds* (None: no limit).
        DeadAgentError: whoever was asked dropped the question.
    """
    timer = None if seconds is None else clock.call_later(seconds, lambda: _late(answer, address, seconds))
    try:
        return await answer
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if answer.cancelled() and not (task and task.cancelling()):
            raise stopped(address) from None
        raise
    finally:
        if timer is not None:
            timer.cancel()


def _late(answer: Answer, address: str, seconds: float) -> None:
    if not answer.done():
        answer.set_exception(ResponseTimeoutError(f"No answer from {address!r} after {seconds:g} s"))


def _skip(address: str, error: ShoalError) -> None:
    if not isinstance(error, MailboxFullError | DeadAgentError):
        _log.warning("%s could not take a published message: %s", address, error)
