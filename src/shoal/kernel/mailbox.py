"""The bounded inbox of one cell. What happens when it is full is explicit: whoever puts gets MailboxFullError."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from shoal.errors import MailboxFullError
from shoal.kernel.message import AgentMessage

__all__ = ["Mailbox"]

_EMPTY: deque[AgentMessage] = deque(maxlen=0)
"""Stands for the box of everyone who has had no mail yet: a deque takes 0.7 KB, and most agents have none."""


class Mailbox:
    """Messages in order of arrival. Those whose time is over are handed to *expired* instead of to a reader.

    Belongs to one event loop. Responses (type ``response``) wait for whoever asks for their correlation; ``get`` hands
    them out too, because without ``wait_for_response`` they are mail like any other.
    """

    __slots__ = ("_answers", "_expired", "_limit", "_messages", "_now", "_owner", "_readers")

    def __init__(
        self, owner: str, limit: int | None, now: Callable[[], datetime], expired: Callable[[AgentMessage], None]
    ) -> None:
        self._owner = owner
        self._limit = limit
        self._now = now
        self._expired = expired
        self._messages = _EMPTY
        self._readers: list[asyncio.Future[None]] = []
        self._answers: dict[
            str, deque[asyncio.Future[AgentMessage]]
        ] = {}  # invariant: no message in the box answers one

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def room(self) -> int:
        """Return how many more fit (at most 1000 are said)."""
        return 1000 if self._limit is None else min(1000, max(0, self._limit - len(self._messages)))

    @property
    def low(self) -> bool:
        """Tell whether at most half of its places are taken."""
        return self._limit is None or 2 * len(self._messages) <= self._limit

    def expects(self, correlation_id: str | None) -> bool:
        """Tell whether somebody waits for that correlation."""
        return correlation_id in self._answers

    def put(self, message: AgentMessage, *, taken: bool = False) -> None:
        """Take a message: to whoever waits for its correlation, else into the box.

        Raises MailboxFullError, but not for one that has left the store: it has no other place.
        """
        if message.correlation_id is not None and self._answer(message):
            return
        if not taken and self._limit is not None and len(self._messages) >= self._limit:
            raise MailboxFullError([self._owner], self._limit)
        if self._messages is _EMPTY:
            self._messages = deque()
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        """Let one reader look."""
        while self._readers:
            reader = self._readers.pop(0)
            if not reader.done():
                reader.set_result(None)
                break

    def _answer(self, message: AgentMessage) -> bool:
        waiting = self._answers.get(message.correlation_id or "")
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(message)
                return True
        return False

    def get(self, limit: int | None = None) -> list[AgentMessage]:
        """Take up to *limit* messages, in order; those that have expired are not among them."""
        taken: list[AgentMessage] = []
        while self._messages and (limit is None or len(taken) < limit):
            message = self._messages.popleft()
            if message.expires_at is not None and message.is_expired(self._now()):
                self._expired(message)
            else:
                taken.append(message)
        return taken

    def put_back(self, messages: Sequence[AgentMessage]) -> None:
        """Take messages that a reader was given and never had: they come before all others, however full it is."""
        kept = [message for message in messages if message.correlation_id is None or not self._answer(message)]
        if kept and self._messages is _EMPTY:
            self._messages = deque()
        self._messages.extendleft(reversed(kept))
        for _ in kept:
            self._wake()

    def next_for_handler(self) -> AgentMessage | None:
        """Take the first message that is no response: those wait for whoever asks for them."""
        messages = self._messages
        place = 0
        while place < len(messages):
            message = messages[place]
            if message.message_type == "response":
                place += 1
                continue
            if place == 0:
                messages.popleft()
            else:
                del messages[place]
            if message.expires_at is None or message.expires_at > self._now():
                return message
            self._expired(message)
        return None

    def take(self, wanted: Callable[[AgentMessage], bool]) -> AgentMessage | None:
        """Take the first message that is *wanted* and has not expired, out of order."""
        for place, message in enumerate(self._messages):
            if wanted(message) and not message.is_expired(self._now()):
                del self._messages[place]
                return message
        return None

    async def wait(self) -> None:
        """Wait until a message comes."""
        if self._messages:
            return
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        try:
            await reader
        except BaseException:
            if reader.done() and not reader.cancelled() and self._messages:
                self._wake()  # it goes without what it was woken for
            raise
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    def expect(self, correlation_id: str) -> asyncio.Future[AgentMessage]:
        """Return a future that ends with the message of that correlation, also one that is there already."""
        future: asyncio.Future[AgentMessage] = asyncio.get_running_loop().create_future()
        message = self.take(lambda m: m.correlation_id == correlation_id)
        if message is not None:
            future.set_result(message)
            return future
        waiting = self._answers.setdefault(correlation_id, deque())
        waiting.append(future)
        future.add_done_callback(lambda _: self._forget(correlation_id, future))
        return future

    def refuse(self, correlation_id: str, error: BaseException) -> None:
        """Tell who waits for that correlation that no answer will come."""
        for future in list(self._answers.get(correlation_id, ())):
            if not future.done():
                future.set_exception(error)

    def _forget(self, correlation_id: str, future: asyncio.Future[AgentMessage]) -> None:
        waiting = self._answers.get(correlation_id)
        if waiting is not None:
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                del self._answers[correlation_id]

    def sweep(self) -> None:
        """Drop what has expired."""
        if not self._messages:
            return
        now = self._now()
        if any(message.is_expired(now) for message in self._messages):
            for message in [m for m in self._messages if m.is_expired(now)]:
                self._messages.remove(message)
                self._expired(message)

    def drain(self) -> list[AgentMessage]:
        """Take all that is left, expired or not."""
        rest = list(self._messages)
        self._messages = _EMPTY
        return rest
