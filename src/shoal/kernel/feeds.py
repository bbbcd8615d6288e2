"""The feeds of one run: its own news, and those of the streams in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from shoal.kernel.feed import Feed
from shoal.kernel.ports import Clock, RunWriter
from shoal.kernel.run import RunEvent

__all__ = ["Feeds"]


class Feeds:
    """Opens feeds, and gathers what waits in them to be written.

    Args:
        writer: where the news are written, and read when they are no longer kept here.
        clock: times.
        flush: is called when something has waited long enough; None: nothing is written.
    """

    def __init__(self, writer: RunWriter, clock: Clock, flush: Callable[[], object] | None) -> None:
        self._writer = writer
        self._clock = clock
        self._flush = flush
        self._open: list[Feed] = []

    def open(self, feed_id: str, offset: int = 0, past: Sequence[RunEvent] = ()) -> Feed:
        """Return a feed that goes on after *offset*; *past*: what was told up to there, as ``past`` returned it."""
        if self._flush is None:
            feed = Feed(feed_id, offset, self._clock)
        else:
            read = self._read if hasattr(self._writer, "events") else None
            feed = Feed(feed_id, offset, self._clock, flush=self._flush, read=read, past=past)
        self._open.append(feed)
        return feed

    async def past(self, feed_id: str) -> list[RunEvent]:
        """Return what is written of a feed, oldest first: what an earlier life of the run told."""
        told = getattr(self._writer, "told", None)  # where the store is at the other end of a wire
        found: list[RunEvent] = []
        after = 0
        while page := await told(feed_id, after) if told is not None else self._read(feed_id, after):
            found += page
            after = found[-1].offset
        return found

    def _read(self, feed_id: str, after: int) -> list[RunEvent]:
        read = getattr(self._writer, "events", None)
        return [] if read is None else list(read(feed_id, after=after))

    @contextmanager
    def taken(self) -> Iterator[tuple[RunEvent, ...]]:
        """Give what waits to be written to whoever writes it within; what is closed is let go with it.

        If that fails, it waits for the next one who writes.
        """
        if len(self._open) == 1:
            with self._open[0].taken() as events:
                yield events
            return
        all_open = self._open
        with ExitStack() as stack:
            events = tuple(event for feed in all_open for event in stack.enter_context(feed.taken()))
            self._open = [feed for feed in all_open if not feed.closed]
            try:
                yield events
            except Exception:
                self._open += [feed for feed in all_open if feed.closed and feed not in self._open]
                raise

    def close(self) -> None:
        """Let all who follow go."""
        for feed in self._open:
            feed.close()
