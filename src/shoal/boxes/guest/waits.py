"""Who waits for an answer, and how it is handed over: a thread in its station, a coroutine on its loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from .codec import Record

if TYPE_CHECKING:
    import asyncio

DEEPEST = 32
"""How many waits of a thread may be on top of each other before it takes no more messages in between."""
WAKE: Record = {"type": "wake"}
"""Only wakes whoever waits."""


class Wait(Protocol):
    """Something that waits for an answer."""

    def deliver(self, record: Record) -> bool:
        """Take the answer, or a message to handle on top of the wait; False when it cannot. Called by the reader."""
        ...


class Abandoned:
    """Nobody waits any more, but the answer is still to come."""

    def deliver(self, record: Record) -> bool:
        """Take the answer; messages are for others."""
        return bool(record["type"] == "answer")


class Station:
    """A thread and what comes for it, in the order of arrival. The main thread's is where the loop takes from, too."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Record] = SimpleQueue()
        self.waiting: list[int] = []  # the requests that it waits for, each on top of the one before
        self.answers: dict[int, Record] = {}
        self.deferred: deque[Record] = deque()  # what came while it waited, and is for the loop
        self.next: Callable[[], Record] = self.inbox.get  # waits for what comes; the main thread reads meanwhile

    def deliver(self, record: Record) -> bool:
        """Take what comes for this thread."""
        self.inbox.put(record)
        return True

    def wait(self, number: int, handle: Callable[[Record], None], interleave: bool) -> Record:
        """Return the answer to request *number*; meanwhile *handle* what is to be handled on top of this wait."""
        while True:
            answer = self.answers.pop(number, None)
            if answer is not None:
                return answer
            item = self.next()
            kind = item["type"]
            if kind == "answer":
                if item["id"] == number:
                    return item
                if item["id"] in self.waiting:
                    self.answers[item["id"]] = item
            elif kind in ("message", "event") and (
                item.get("over") in self.waiting or (interleave and len(self.waiting) < DEEPEST)
            ):
                handle(item)
            elif item is not WAKE:
                self.deferred.append(item)


class CoroutineWait:
    """A coroutine that waits. *admit* handles, on its loop, a message on top of the wait."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[Record],
        admit: Callable[[Record], object],
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._admit = admit

    def deliver(self, record: Record) -> bool:
        """Hand it over to the loop."""
        try:
            self._loop.call_soon_threadsafe(self._take, record)
        except RuntimeError:  # that loop is closed
            return False
        return True

    def _take(self, record: Record) -> None:
        if record["type"] != "answer":
            self._admit(record)
        elif not self._answer.done():
            self._answer.set_result(record)
