"""The news of a run: no gap for whoever follows, however much is told at once, and whatever becomes of a write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.kernel.clock import RealClock
from shoal.kernel.feed import RING, Feed
from shoal.kernel.usage import Usage
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest

PIECES = 3 * RING


class Torrent:
    """A model that says much without ever letting anybody else have a turn."""

    name = "torrent"

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        return ModelReply(text="x" * PIECES, usage=Usage())

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces."""
        for _ in range(PIECES):
            yield ModelDelta(text="x")
        yield await self.request(request)

    def price(self, usage: Usage) -> int | None:
        """Nothing."""
        return 0


def test_who_follows_misses_nothing_that_is_told_at_once(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            handle = runtime.run(Agent(name="Ann", model=Torrent()), "x", run_id="r")
            followed = [event async for event in handle.events()]
            await handle
            assert [event.offset for event in followed] == list(range(1, len(followed) + 1))
            assert sum(event.type == "text" for event in followed) == PIECES
            assert [event async for event in runtime.runs.events("r")] == followed

    run(main)


def test_what_could_not_be_written_waits_for_the_next_write() -> None:
    async def main() -> None:
        feed = Feed("r", 0, RealClock(), flush=lambda: None, read=lambda feed_id, after: [])
        for number in range(RING + 5):
            feed.tell("", "text", "", {"text": str(number)})
        with pytest.raises(OSError, match="full"), feed.taken() as events:
            assert len(events) == RING + 5
            raise OSError("the disk is full")
        feed.tell("", "text", "", {"text": "after"})
        with feed.taken() as events:
            assert [event.offset for event in events] == list(range(1, RING + 7))
        with feed.taken() as events:
            assert events == ()
        feed.close()
        assert [event.offset async for event in feed.follow(6)] == list(range(7, RING + 7))

    asyncio.run(main())
