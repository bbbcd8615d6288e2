"""The host's own part in the talk: it asks, publishes, answers and hears under the name ``host``. It never blocks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from shoal.boxes.asked import check_handler, check_seconds
from shoal.boxes.data import check_raw, decoded
from shoal.boxes.faults import rebuild_error, to_record
from shoal.boxes.members import Member, Parcel
from shoal.boxes.policy import event_matches
from shoal.boxes.router import HOST, Router
from shoal.boxes.wire import NOTHING, ErrorRecord
from shoal.errors import MessageTooLargeError, PayloadError, ResponseTimeoutError, ShoalError
from shoal.kernel.payload import checked

__all__ = ["HostSide"]

_OPEN_REQUESTS = 100_000
_log = logging.getLogger(__name__)
_handling: contextvars.ContextVar[int | None] = contextvars.ContextVar("shoal_box_message", default=None)


class HostSide:
    """A member whose handlers are functions of the host, each message in an asyncio task of its own."""

    def __init__(self, router: Router, max_message: int, mailbox: tuple[int, int]) -> None:
        """Join; it takes nothing until something is registered. *mailbox*: how many messages, how many bytes."""
        self.backlog = None
        self._router = router
        self._max_message = max_message
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._messages: list[Callable[[str, Any], Any]] = []
        self._events: list[tuple[str, Callable[[Any], Any]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self.member = Member(HOST, self, max_count=mailbox[0], max_bytes=mailbox[1], in_flight=_OPEN_REQUESTS)
        router.join(self.member)
        self._settle()

    def _settle(self) -> None:
        self._router.settle(self.member, bool(self._messages), tuple(pattern for pattern, _ in self._events))

    def on_message(self, handler: Callable[[str, Any], Any]) -> None:
        """Answer with *handler*, after those before it have raised."""
        check_handler(handler, "a handler")
        self._messages.append(handler)
        self._settle()

    def on_event(self, pattern: str, handler: Callable[[Any], Any]) -> None:
        """Call *handler* with the data of each event that *pattern* takes."""
        check_handler(handler, "a handler")
        self._events.append((pattern, handler))
        self._settle()

    # -- what it asks

    async def request(self, target: str, data: Any, timeout: float | None) -> Any:
        """Ask a box. Raises what the box answers with, or what refuses the question."""
        number, answer = self._send(target, data, timeout)
        try:
            return await answer
        finally:
            self._open.pop(number, None)

    async def send(self, target: str, data: Any) -> None:
        """Put a message into a box's mailbox; its answer is dropped."""
        number, answer = self._send(target, data, None)
        if answer.done():
            self._open.pop(number, None)
            await answer
        answer.add_done_callback(_look_at)

    def _send(self, target: str, data: Any, timeout: float | None) -> tuple[int, asyncio.Future[Any]]:
        if not isinstance(target, str):
            raise TypeError(f"target is the name of a box, not {target!r:.80}")
        check_seconds(timeout, "timeout")
        raw = self._encoded(data)
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        self._router.send(self.member, number, target, raw, timeout=timeout, handling=_handling.get(), blocks=False)
        return number, answer

    def publish(self, event: str, data: Any) -> int:
        """Publish an event; returns how many took it."""
        if not isinstance(event, str):
            raise TypeError(f"event is the name of an event, not {event!r:.80}")
        return self._router.publish(self.member, event, self._encoded(data))

    def _encoded(self, data: Any) -> msgspec.Raw:
        raw = msgspec.Raw(checked(data, "data", self._max_message, MessageTooLargeError)[1])
        check_raw(raw)
        return raw

    def answer(self, send_id: int, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        """Take the answer to what it asked."""
        answer = self._open.pop(send_id, None)
        if answer is None or answer.done():
            return
        if error is None:
            try:
                answer.set_result(decoded(data))
            except PayloadError as fault:
                answer.set_exception(fault)
        else:
            answer.set_exception(rebuild_error(error))

    # -- what it is asked

    def give(self, parcel: Parcel) -> None:
        """Begin to handle a message or an event."""
        self._start(self._message(parcel) if parcel.event is None else self._event(parcel, parcel.event))

    def withdraw(self, number: int) -> None:
        """A handler that runs goes on."""

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.get_running_loop().create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _message(self, parcel: Parcel) -> None:
        _handling.set(parcel.number)
        try:
            data = decoded(parcel.data)
        except PayloadError as error:
            self._router.reply(self.member, parcel.number, NOTHING, to_record(error), own=True)
            return
        first: BaseException | None = None
        for handler in list(self._messages):
            try:
                value = await _called(handler, parcel.sender, data)
            except Exception as error:  # noqa: BLE001 - the next handler may know better; the first error is told
                first = first or error
            else:
                self._reply(parcel.number, value)
                return
        fault = first or ResponseTimeoutError("the host has no message handler")
        self._router.reply(self.member, parcel.number, NOTHING, to_record(fault), own=first is None)

    def _reply(self, number: int, value: Any) -> None:
        try:
            raw = self._encoded(value)
        except ShoalError as error:
            self._router.reply(self.member, number, NOTHING, to_record(error), own=True)
        else:
            self._router.reply(self.member, number, raw, None, own=False)

    async def _event(self, parcel: Parcel, event: str) -> None:
        try:
            data = decoded(parcel.data)
        except PayloadError as error:
            _log.warning("the event %.200r of %s: %s", event, parcel.sender, error)
            self._router.handled(self.member, parcel.number)
            return
        for pattern, handler in list(self._events):
            if event_matches(pattern, event):
                try:
                    await _called(handler, data)
                except Exception:  # noqa: BLE001 - every handler runs; one failure does not stop the next
                    _log.exception("a handler of the event %r raised", event)
        self._router.handled(self.member, parcel.number)

    async def close(self) -> None:
        """End what runs."""
        for running in list(self._running):
            running.cancel()
        if self._running:
            await asyncio.wait(list(self._running))


async def _called(handler: Callable[..., Any], *args: Any) -> Any:
    value = handler(*args)
    return await value if inspect.isawaitable(value) else value


def _look_at(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
