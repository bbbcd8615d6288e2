"""Messages and receivers for those who test a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from shoal.errors import MailboxFullError
from shoal.kernel.clock import RealClock
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Bus

__all__ = ["Inbox", "Replier", "SlowInbox", "a_message", "attached_everywhere", "until"]

_clock = RealClock()


def a_message(data: object = None, *, sender: str = "tester", topic: str | None = None) -> AgentMessage:
    """Return a message with *data* from *sender*."""
    return AgentMessage(
        message_id=_clock.new_id(),
        sender_id=sender,
        sender_name=sender,
        message_type="event" if topic else "note",
        data=data,
        timestamp=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        topic=topic,
    )


class Inbox:
    """A receiver that keeps what it is offered, up to *size*, and leaves every question open."""

    def __init__(self, size: int = 100_000) -> None:
        self.size = size
        self.taken: list[AgentMessage] = []
        self.open: list[asyncio.Future[AgentMessage]] = []

    @property
    def data(self) -> list[object]:
        """What was said, in order."""
        return [each.data for each in self.taken]

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take it, or raise MailboxFullError."""
        if len(self.taken) >= self.size:
            raise MailboxFullError(["inbox"], self.size)
        self.taken.append(message)
        return None

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take it and leave the answer open."""
        self.offer(message)
        future: asyncio.Future[AgentMessage] = asyncio.get_running_loop().create_future()
        self.open.append(future)
        return future


class SlowInbox(Inbox):
    """An inbox whose messages must reach the disk first, as those of a paused agent."""

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take it after a turn of the loop."""

        async def later() -> None:
            await _clock.sleep(0.001)
            Inbox.offer(self, message)

        return later()


class Replier(Inbox):
    """A receiver that answers every question at once with *reply*, or raises it."""

    def __init__(self, reply: Callable[[AgentMessage], object]) -> None:
        super().__init__()
        self.reply = reply

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Answer at once."""
        future = super().ask(message)
        said = self.reply(message)
        if isinstance(said, BaseException):
            future.set_exception(said)
        else:
            future.set_result(a_message(said, sender="replier"))
        return future


async def until(fact: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until *fact* is true; fail after *seconds*."""
    deadline = _clock.monotonic() + seconds
    while not fact():
        assert _clock.monotonic() < deadline, "the fact did not come true in time"
        await _clock.sleep(0.001)


async def attached_everywhere(buses: list[Bus], address: str) -> None:
    """Wait until all *buses* know *address*, and with it all that its node said before."""
    await until(lambda: all(bus.has(address) for bus in buses))
