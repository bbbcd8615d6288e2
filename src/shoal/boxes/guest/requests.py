"""What a box asks and publishes: one frame out, one answer back, and what is handled on top of the wait."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import Any, Protocol

from . import payload
from .codec import Record, quote
from .errors import PayloadError, ResponseTimeoutError, rebuild_error
from .frames import JSON, frame
from .outbox import Outbox
from .places import Places
from .waits import Abandoned, CoroutineWait, Station, Wait

_ABANDONED = Abandoned()
_LONGEST = 1e9  # seconds


class Handling(Protocol):
    """What a request has to know of the code that makes it."""

    interleave: bool

    def present(self) -> int | None:
        """Return the message that the calling code works on."""
        ...

    def handle(self, item: Record) -> None:
        """Handle a message or an event now."""
        ...

    def admit(self, item: Record) -> object:
        """Handle a message or an event beside what runs on this loop."""
        ...

    def pass_on(self, item: Record) -> None:
        """Leave a message or an event to the loop."""
        ...

    def blocks(self) -> bool:
        """Tell whether the calling coroutine is what the loop of the box waits for."""
        ...


class Requests:
    """The open requests of one box. Made in the main thread."""

    def __init__(self, outbox: Outbox, max_message: int, in_flight: int) -> None:
        self._outbox = outbox
        self._max_message = max_message
        self._places = Places(in_flight)
        self._numbers = itertools.count(1)
        self._open: dict[int, Wait] = {}
        self._local = threading.local()
        self.main = self._local.station = Station()
        self.handling: Handling

    # -- what the program calls

    def send(self, target: str, data: Any, timeout: float | None) -> Any:
        """Ask *target* and wait for its answer."""
        fields = self._send_fields(target, data, timeout)
        return self._ask(fields, timeout, f"a place to ask {target!r}")

    def publish(self, event: str, data: Any) -> int:
        """Publish an event; returns how many took it."""
        taken: int = self._ask(self._publish_fields(event, data), None, event)
        return taken

    async def send_async(self, target: str, data: Any, timeout: float | None) -> Any:
        """Ask *target* and await its answer."""
        fields = self._send_fields(target, data, timeout)
        return await self._ask_async(fields, timeout, f"a place to ask {target!r}")

    async def publish_async(self, event: str, data: Any) -> int:
        """Publish an event; returns how many took it."""
        taken: int = await self._ask_async(self._publish_fields(event, data), None, event)
        return taken

    # -- frames

    def _send_fields(self, target: str, data: Any, timeout: float | None) -> Callable[[int, bool], bytes]:
        name = quote(payload.check_text(target, "target"))
        raw = payload.encode(data, "data", self._max_message)
        seconds = _seconds(timeout)

        def fields(number: int, blocks: bool) -> bytes:
            return b'{"type":"send","id":%d,"target":%s,"data":%s,"timeout":%s,"handling":%s,"blocks":%s}' % (
                number,
                name.encode(),
                raw,
                seconds,
                self._handling(),
                b"true" if blocks else b"false",
            )

        return fields

    def _publish_fields(self, event: str, data: Any) -> Callable[[int, bool], bytes]:
        name = quote(payload.check_text(event, "event"))
        raw = payload.encode(data, "data", self._max_message)

        def fields(number: int, _blocks: bool) -> bytes:
            return b'{"type":"publish","id":%d,"event":%s,"data":%s,"handling":%s}' % (
                number,
                name.encode(),
                raw,
                self._handling(),
            )

        return fields

    def _handling(self) -> bytes:
        present = self.handling.present()
        return b"null" if present is None else b"%d" % present

    # -- waiting

    def _ask(self, fields: Callable[[int, bool], bytes], timeout: float | None, what: str) -> Any:
        station = self._station()
        if not self._places.take(timeout):
            raise _no_place(what, timeout)
        number = next(self._numbers)
        main = station is self.main
        self._open[number] = station
        station.waiting.append(number)
        answered = False
        try:
            self._outbox.send(frame(JSON, fields(number, main)))
            answer = station.wait(number, self.handling.handle, main and self.handling.interleave)
            answered = True
        finally:
            station.waiting.remove(number)
            if not answered:
                self._abandon(number, station)
        return _value(answer)

    async def _ask_async(self, fields: Callable[[int, bool], bytes], timeout: float | None, what: str) -> Any:
        import asyncio

        if not await self._places.take_async(timeout):
            raise _no_place(what, timeout)
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        coming: asyncio.Future[Record] = loop.create_future()
        self._open[number] = CoroutineWait(loop, coming, self.handling.admit)
        answered = False
        try:
            self._outbox.send(frame(JSON, fields(number, self.handling.blocks())))
            answer = await coming
            answered = True
        finally:
            if not answered:
                self._abandon(number, None)
        return _value(answer)

    def _station(self) -> Station:
        station: Station | None = getattr(self._local, "station", None)
        if station is None:
            station = self._local.station = Station()
        return station

    def _abandon(self, number: int, station: Station | None) -> None:
        """Nobody waits for that any more: its place comes free with its answer, and no message stays behind."""
        if number in self._open:
            self._open[number] = _ABANDONED
        if station is not None and station is not self.main:
            left = list(station.deferred)
            while not station.inbox.empty():
                left.append(station.inbox.get_nowait())
            for item in left:
                self.handling.pass_on(item)

    # -- what the reader brings

    def answered(self, record: Record) -> None:
        """Take an answer; one that nobody waits for is dropped."""
        wait = self._open.pop(record["id"], None)
        if wait is not None:
            self._places.free()
            wait.deliver(record)

    def deliver_over(self, record: Record) -> bool:
        """Give a message to whoever waits for the answer that it belongs on top of; False when nobody does."""
        wait = self._open.get(record["over"])
        return wait is not None and wait.deliver(record)


def _value(answer: Record) -> Any:
    error = answer.get("error")
    if error is not None:
        raise rebuild_error(error)
    if "unreadable" in answer:
        raise PayloadError(f"the answer cannot be read: {answer['unreadable']}", path="answer")
    return answer["data"]


def _seconds(timeout: float | None) -> bytes:
    if timeout is None:
        return b"null"
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout is {timeout}, not a number of seconds from 0 up")
    return repr(min(float(timeout), _LONGEST)).encode()


def _no_place(what: str, timeout: float | None) -> ResponseTimeoutError:
    return ResponseTimeoutError(f"Timeout waiting for {what} after {timeout:g} s: too many requests are open")
