"""Answers to a box that reads them, reads them slowly, or does not: real channels, on a real clock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from shoal.boxes import boxwire
from shoal.boxes.audit import Audit
from shoal.boxes.backlog import Backlog
from shoal.boxes.guest.channel import Channel
from shoal.boxes.guest.frames import Splitter
from shoal.boxes.replying import Replies
from shoal.boxes.router import Router
from shoal.boxes.wire import ErrorRecord
from shoal.kernel.clock import RealClock
from tests.unit.boxes.test_router import Box

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
MOST = 1 << 20
HALF = "x" * (MOST // 2)


class Asker(Box):
    """A box whose answers go into a real channel, which somebody may read at the other end."""

    def __init__(self, router: Router, name: str) -> None:
        super().__init__(router, name)
        ours, self.end = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.channel = Channel(loop, ours.detach(), Splitter(MOST), lambda kind, body: None, lambda error: None)
        self.backlog = Backlog(self.channel, MOST)
        self.errors: list[str] = []

    def answer(self, send_id: int, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        super().answer(send_id, data, error)
        if error is not None:
            self.errors.append(f"{error.type}: {error.text}")
        self.channel.send(bytes(data))

    async def read(self, size: int) -> None:
        """Read so much at the other end."""
        self.end.setblocking(False)
        loop = asyncio.get_running_loop()
        while size > 0:
            size -= len(await loop.sock_recv(self.end, size))

    def close(self) -> None:
        self.channel.close()
        self.end.close()


class Talk:
    """An asker, and a box that answers it; ``held`` tells whether the latter is read from."""

    def __init__(self) -> None:
        clock = RealClock()
        self.router = Router(clock, Audit(clock))
        self.asker = Asker(self.router, "asker")
        self.other = Box(self.router, "other")
        self.held: list[str] = []
        hold, go_on = (lambda: self.held.append("hold")), (lambda: self.held.append("go on"))
        self.replies = Replies(self.other.member, self.router, clock, hold, go_on)

    def waits(self) -> bool:
        """Whether an answer waits."""
        return self.replies.waits

    def ask(self) -> None:
        """Ask, and have it answered with half of what may wait."""
        assert len(self.other.given) < 500, "nothing is ever waited for"
        self.asker.send("other", timeout=None, blocks=False)
        data = msgspec.Raw(msgspec.json.encode(HALF))
        self.replies.take(boxwire.Reply(id=self.other.given[-1].number, data=data))


def test_who_reads_gets_everything(run: Run) -> None:
    async def main() -> None:
        talk = Talk()
        for _ in range(10):
            talk.ask()
            assert not talk.waits()
            await talk.asker.read(len(HALF) + 2)
            while talk.asker.channel.unsent:
                await asyncio.sleep(0)
        assert len(talk.asker.answers) == 10 and talk.held == ["go on"] * 10
        talk.asker.close()

    run(main)


def test_who_reads_late_is_waited_for(run: Run) -> None:
    async def main() -> None:
        talk = Talk()
        while not talk.waits():
            talk.ask()
        known = len(talk.asker.answers)
        assert known >= 2 and talk.held[-1] == "hold" and talk.asker.channel.unsent <= MOST
        await talk.asker.read(known * (len(HALF) + 2))
        while talk.waits():
            await asyncio.sleep(0.001)
        assert len(talk.asker.answers) == known + 1 and talk.asker.errors == [] and talk.held[-1] == "go on"
        talk.asker.close()

    run(main)


def test_who_does_not_read_is_waited_for_once(run: Run) -> None:
    async def main() -> None:
        talk = Talk()
        while not talk.waits():
            talk.ask()
        known = len(talk.asker.answers)
        while talk.waits():
            await asyncio.sleep(0.01)
        assert talk.asker.errors[0].startswith("MailboxFullError: Mailbox of 'asker' is full: it has not read")
        for _ in range(100):  # nobody waits for it again
            talk.ask()
            assert not talk.waits()
        assert len(talk.asker.errors) == 101 and talk.asker.channel.unsent <= MOST
        await talk.asker.read(known * (len(HALF) + 2))
        while talk.asker.channel.unsent:
            await asyncio.sleep(0.001)
        talk.ask()
        assert len(talk.asker.errors) == 101, "it reads again, and gets its answers again"
        talk.asker.close()

    run(main)


def test_the_last_words_of_a_box_are_not_waited_for(run: Run) -> None:
    async def main() -> None:
        talk = Talk()
        while not talk.waits():
            talk.ask()
        talk.replies.flush()
        assert not talk.waits() and len(talk.asker.errors) == 1
        talk.replies.flush()
        assert len(talk.asker.errors) == 1
        talk.asker.close()

    run(main)


def test_call_backs_are_bounded_too(run: Run) -> None:
    async def main() -> None:
        talk = Talk()
        talk.asker.send("other", timeout=None)
        (asked,) = talk.other.given
        talk.asker.channel.send(b"x" * MOST)
        number = talk.other.send("asker", HALF + HALF, handling=asked.number)
        assert talk.other.answers[number][0] == "MailboxFullError"
        number = talk.other.send("asker", "short", handling=asked.number)
        assert number not in talk.other.answers and len(talk.asker.given) == 1
        talk.asker.close()

    run(main)
