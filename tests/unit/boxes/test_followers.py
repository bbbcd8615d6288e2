"""Who follows what a box prints: bounded in count and size, and told of the end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from shoal.boxes.logs import LogLine, Logs


def line(number: int, text: str) -> LogLine:
    return LogLine(box="box", incarnation=1, seq=number, at=datetime.now(UTC), stream="log", text=text)


@pytest.mark.parametrize(
    ("count", "size", "waits"), [(60, 1000, 10), (20_000, 0, 10_000), (1, 50_000, 1), (100, 10, 100)]
)
def test_a_slow_follower_loses_the_oldest_and_hears_of_the_end(count: int, size: int, waits: int) -> None:
    async def main() -> None:
        logs = Logs(max_lines=100, max_bytes=10_000)
        following = logs.follow()
        first = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        logs.add(line(0, "first"))
        assert (await first).seq == 0
        for number in range(1, count + 1):
            logs.add(line(number, "x" * size))
        logs.close()
        assert [each.seq async for each in following] == list(range(count + 1 - waits, count + 1))

    asyncio.run(asyncio.wait_for(main(), 20))
