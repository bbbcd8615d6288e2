"""The news of a run as a reader gets it, from any offset on, also from behind what is kept in memory."""

from __future__ import annotations

import asyncio

import pytest

from shoal.kernel.clock import RealClock
from shoal.kernel.feed import RING, Feed
from shoal.kernel.run import RunEvent

TOLD = RING + 20


def _kept(count: int) -> Feed:
    """Return the closed feed of a run without a store."""
    feed = Feed("r", 0, RealClock())
    _tell(feed, count)
    feed.close()
    return feed


def _tell(feed: Feed, count: int) -> list[RunEvent]:
    return [feed.tell("a", "text", "A", {"text": str(number)}) for number in range(count)]


async def _offsets(feed: Feed, after: int) -> list[int]:
    return [event.offset async for event in feed.follow(after)]


@pytest.mark.parametrize("after", [0, 1, 7, 9, 10, 11])
def test_a_reader_gets_what_was_told_after_his_offset(after: int) -> None:
    assert asyncio.run(_offsets(_kept(10), after)) == list(range(after + 1, 11))


@pytest.mark.parametrize("after", [0, 5, TOLD - RING - 1, TOLD - RING, TOLD - 1])
def test_whoever_is_too_far_behind_reads_the_store(after: int) -> None:
    async def main() -> None:
        written: list[RunEvent] = []
        asked: list[int] = []

        def read(feed_id: str, offset: int) -> list[RunEvent]:
            asked.append(offset)
            return [event for event in written if event.offset > offset][:15]

        feed = Feed("r", 0, RealClock(), flush=lambda: None, read=read)
        written += _tell(feed, TOLD)
        with feed.taken():
            pass  # it is written
        feed.close()
        assert await _offsets(feed, after) == list(range(after + 1, TOLD + 1))
        assert all(offset < TOLD - RING for offset in asked)
        assert bool(asked) == (after < TOLD - RING)

    asyncio.run(main())


def test_many_readers_get_each_piece_of_news_once_and_in_order() -> None:
    async def main() -> None:
        feed = Feed("r", 0, RealClock())
        readers = [asyncio.create_task(_offsets(feed, after)) for after in (0, 3, 5, 6) for _ in range(5)]
        for number in range(40):
            _tell(feed, number % 3)
            await asyncio.sleep(0)
        feed.close()
        for reader, after in zip(readers, [after for after in (0, 3, 5, 6) for _ in range(5)], strict=True):
            assert await reader == list(range(after + 1, feed.offset + 1))

    asyncio.run(main())
