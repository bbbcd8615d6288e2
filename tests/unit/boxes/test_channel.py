from __future__ import annotations

import asyncio
import os
import socket

import pytest

from shoal.boxes.guest.channel import Channel
from shoal.boxes.guest.frames import JSON, FrameError, Splitter, frame


class Side:
    def __init__(self, end: socket.socket, limit: int = 1 << 24) -> None:
        self.frames: list[bytes] = []
        self.ends: list[FrameError | None] = []
        self.changed = asyncio.Event()
        self.channel = Channel(asyncio.get_running_loop(), end.detach(), Splitter(limit), self._frame, self._end)

    def _frame(self, kind: int, body: bytes) -> None:
        self.frames.append(body)
        self.changed.set()

    def _end(self, error: FrameError | None) -> None:
        self.ends.append(error)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.frames) + len(self.ends) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)


def pair() -> tuple[Side, Side]:
    a, b = socket.socketpair()
    return Side(a), Side(b)


def body(number: int) -> bytes:
    return b"%06d" % number


def test_frames_come_in_order_many_and_large() -> None:
    async def main() -> None:
        one, two = pair()
        for number in range(1000):
            one.channel.send(frame(JSON, body(number)))
        big = os.urandom(10 << 20)
        one.channel.send(frame(JSON, big))
        assert one.channel.unsent > 0
        await two.until(1001)
        assert two.frames == [*map(body, range(1000)), big]
        assert one.channel.unsent == 0
        one.channel.close()
        await two.until(1002)
        assert two.ends == [None] and two.channel.closed

    asyncio.run(main())


def test_a_paused_channel_delivers_nothing_and_loses_nothing() -> None:
    async def main() -> None:
        one, two = pair()
        two.channel.pause()
        for number in range(300):
            one.channel.send(frame(JSON, body(number)))
        await asyncio.sleep(0.02)
        two.channel.read_now()
        assert two.frames == []
        two.channel.resume()
        await two.until(300)
        assert two.frames == [*map(body, range(300))]
        one.channel.close()
        two.channel.close()

    asyncio.run(main())


def test_at_most_64_frames_are_delivered_in_a_turn() -> None:
    async def main() -> None:
        one, two = pair()
        one.channel.send(b"".join(frame(JSON, body(number)) for number in range(200)))
        two.channel.read_now()
        assert len(two.frames) == 64
        await two.until(200)
        one.channel.close()
        two.channel.close()

    asyncio.run(main())


@pytest.mark.parametrize("late", [0, 1])
def test_drain_takes_everything_that_was_sent_before_the_end(late: int) -> None:
    async def main() -> None:
        one, two = pair()
        one.channel.send(b"".join(frame(JSON, body(number)) for number in range(200)))
        two.channel.read_now()
        two.channel.pause()
        for number in range(200, 200 + late):
            one.channel.send(frame(JSON, body(number)))
        one.channel.close()
        two.channel.drain()
        assert two.frames == [*map(body, range(200 + late))]
        assert two.ends == [None]

    asyncio.run(main())


def test_junk_ends_it_once() -> None:
    async def main() -> None:
        one, two = pair()
        one.channel.send(frame(JSON, body(1)) + b"\xff" * 50)
        await two.until(2)
        assert two.frames == [body(1)]
        assert [type(end) for end in two.ends] == [FrameError]
        one.channel.send(frame(JSON, body(2)))
        await asyncio.sleep(0)
        one.channel.close()

    asyncio.run(main())
