"""The handlers of a box: which there are, and one message or event through them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from . import payload
from .codec import Record, quote, write_error, write_record
from .errors import ChainTooDeepError, NoHandlerError, PayloadError, ResponseTimeoutError
from .frames import JSON, frame
from .outbox import Outbox
from .telling import print_error

NESTED = 32
"""How many handlers may run on top of waits of one box."""

Steps = Generator[Awaitable[Any], Any, None]
"""One message or event being handled: yields what a handler wants awaited, and takes its value."""

_handling: contextvars.ContextVar[int | None] = contextvars.ContextVar("shoal_handling", default=None)
_LEAVING = (SystemExit, KeyboardInterrupt, GeneratorExit)


class Handlers:
    """What the program registered, and what is being handled."""

    def __init__(self, name: str, outbox: Outbox, max_message: int) -> None:
        self._name = name
        self._outbox = outbox
        self._max_message = max_message
        self._messages: list[Callable[[str, Any], Any]] = []
        self._events: list[tuple[str, Callable[[Any], Any]]] = []
        self._told: tuple[bool, tuple[str, ...], bool] | None = None
        self.complete = False  # a script registers one after the other: what is missing yet may come
        self._main = threading.get_ident()
        self._lock = threading.Lock()
        self._nested = 0
        self._active: set[int] = set()
        self.waiting: dict[int, Record] = {}  # what has come and has not begun

    # -- registering

    def __bool__(self) -> bool:
        return bool(self._messages or self._events)

    def add(self, messages: list[Callable[[str, Any], Any]], events: list[tuple[str, Callable[[Any], Any]]]) -> None:
        """Register handlers, and tell the runtime what the box takes from now on."""
        self._messages += messages
        self._events += events
        self._tell()

    def completed(self) -> None:
        """Tell the runtime that what came until now can be handed over: the handlers are there."""
        self.complete = True
        self._tell()

    def _tell(self) -> None:
        takes = bool(self._messages), tuple(dict.fromkeys(name for name, _ in self._events)), self.complete
        if takes != self._told:
            self._told = takes
            self._outbox.send(write_record(type="handlers", messages=takes[0], events=takes[1], complete=takes[2]))

    # -- handling

    def present(self) -> int | None:
        """Return the message or event that the calling code works on."""
        number = _handling.get()
        return number if number in self._active else None

    def steps(self, item: Record) -> Steps:
        """Handle a message or an event, unless it was withdrawn before."""
        number = item["id"]
        if self.waiting.pop(number, None) is None:
            return
        over = item.get("over") is not None
        if over and not self._go_deeper():
            self._refuse(
                item, ChainTooDeepError(f"call chain longer than {NESTED} in box {self._name!r}", limit=NESTED)
            )
            return
        before = _handling.set(number)
        self._active.add(number)
        try:
            if "unreadable" in item:
                self._refuse(item, PayloadError(f"data: {item['unreadable']}", path="data"))
            elif item["type"] == "message":
                yield from self._message(item)
            else:
                yield from self._event(item)
        finally:
            self._active.discard(number)
            _handling.reset(before)
            if over:
                with self._lock:
                    self._nested -= 1

    def _go_deeper(self) -> bool:
        with self._lock:
            if self._nested >= NESTED:
                return False
            self._nested += 1
            return True

    def _message(self, item: Record) -> Steps:
        first: BaseException | None = None
        for handler in tuple(self._messages):
            try:
                value = handler(item["sender"], item["data"])
                if hasattr(value, "__await__"):
                    value = yield value
            except BaseException as error:
                if self._leaves(error):
                    raise
                first = first or error
            else:
                self._reply(item, value)
                return
        if first is None:
            self._refuse(item, NoHandlerError(f"Box {self._name!r} has no message handler"))
        else:
            self._fail(item, first, own=False)

    def _event(self, item: Record) -> Steps:
        first: BaseException | None = None
        for pattern, handler in tuple(self._events):
            if not matches(pattern, item["event"]):
                continue
            try:
                value = handler(item["data"])
                if hasattr(value, "__await__"):
                    yield value
            except BaseException as error:
                if self._leaves(error):
                    raise
                print_error(error)
                first = first or error
        error_field = b"" if first is None else b',"error":' + write_error(first).encode()
        self._outbox.send(frame(JSON, b'{"type":"handled","id":%d%s}' % (item["id"], error_field)))

    def _leaves(self, error: BaseException) -> bool:
        """Tell whether an error is for the whole box: its program wants to end. Threads end by themselves."""
        return isinstance(error, _LEAVING) and threading.get_ident() == self._main

    # -- answering

    def _reply(self, item: Record, value: Any) -> None:
        try:
            raw = payload.encode(value, "answer", self._max_message)
        except PayloadError as error:
            self._refuse(item, error)
        else:
            self._outbox.send(frame(JSON, b'{"type":"reply","id":%d,"data":%s}' % (item["id"], raw)))

    def _refuse(self, item: Record, error: Exception) -> None:
        self._fail(item, error, own=True)

    def _fail(self, item: Record, error: BaseException, *, own: bool) -> None:
        kind = "reply" if item["type"] == "message" else "handled"
        flag = ',"own":true' if own and kind == "reply" else ""
        text = f'{{"type":{quote(kind)},"id":{item["id"]},"error":{write_error(error)}{flag}}}'
        self._outbox.send(frame(JSON, text.encode()))

    def withdraw(self, number: int) -> None:
        """Drop a message that has not begun: nobody waits for it any more."""
        item = self.waiting.pop(number, None)
        if item is not None:
            self._refuse(item, ResponseTimeoutError("nobody waits for this message any more"))


def matches(pattern: str, event: str) -> bool:
    """Tell whether *event* is meant by *pattern*: that name, or with ``*`` at its end all that begin so."""
    return event.startswith(pattern[:-1]) if pattern.endswith("*") else event == pattern
