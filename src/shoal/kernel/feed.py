"""The news of a run: told at once to those who follow it here, written with its next step or a moment later."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from shoal.kernel.news import News
from shoal.kernel.ports import Clock
from shoal.kernel.run import RunEvent, RunEventType

__all__ = ["Feed"]

GROUP_SECONDS = 0.05
GROUP_CHARS = 4096
"""Text that waits to be written: this long, or this much."""

RING = 1000
"""How many events are kept here for those who follow, with those that wait to be written; whoever falls further behind
reads the store."""

Read = Callable[[str, int], list[RunEvent]]
"""``read(feed, after)`` returns what the store holds after an offset."""


class Feed:
    """The news of one run, or of one stream, in order, numbered from 1.

    Args:
        feed_id: the run, or the stream.
        offset: of the last event that is already written.
        clock: times and the timer of groups.
        flush: is called when something has waited long enough to be written; None: nothing is written, all is kept here.
        read: reads what is no longer kept here; None: all is kept here.
        past: what was told before, up to *offset*, where *read* cannot give it.
    """

    def __init__(
        self,
        feed_id: str,
        offset: int,
        clock: Clock,
        *,
        flush: Callable[[], object] | None = None,
        read: Read | None = None,
        past: Sequence[RunEvent] = (),
    ) -> None:
        self.feed_id = feed_id
        self.offset = offset
        self.closed = False
        self._clock = clock
        self._flush = flush
        self._read = read
        self._ring: deque[RunEvent] = deque(past)
        self._written = offset
        self._pending: list[RunEvent] = []
        self._chars = 0
        self._timer: Any = None
        self._news: News | None = None  # made when somebody follows

    def tell(self, path: str, kind: RunEventType | str, agent_name: str, data: dict[str, Any]) -> RunEvent:
        """Add an event."""
        self.offset += 1
        event = RunEvent(
            offset=self.offset,
            run_id=self.feed_id,
            path=path,
            type=str(kind),
            agent_name=agent_name,
            data=data,
            at=self._clock.now(),
        )
        self._ring.append(event)
        self._trim()
        if self._flush is not None:
            self._wait_to_be_written(event)
        if self._news is not None:
            self._news.wake()
        return event

    def _wait_to_be_written(self, event: RunEvent) -> None:
        self._pending.append(event)
        self._chars += len(event.data.get("text", ""))
        if self._chars >= GROUP_CHARS:
            assert self._flush is not None
            self._flush()
        elif self._timer is None:
            self._timer = self._clock.call_later(GROUP_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._pending and self._flush is not None:
            self._flush()

    def _trim(self) -> None:
        """Let go of what whoever is behind can read from the store."""
        if self._read is not None:
            while len(self._ring) > RING and self._ring[0].offset <= self._written:
                self._ring.popleft()

    @contextmanager
    def taken(self) -> Iterator[tuple[RunEvent, ...]]:
        """Give what waits to be written to whoever writes it within. If that fails, it waits for the next one who writes."""
        events = self._take()
        try:
            yield events
        except Exception:
            self._pending[:0] = events
            raise
        if events:
            self._written = max(self._written, events[-1].offset)
            self._trim()

    def _take(self) -> tuple[RunEvent, ...]:
        if not self._pending:
            return ()
        taken = tuple(self._pending)
        self._pending.clear()
        self._chars = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return taken

    def close(self) -> None:
        """Let those who follow go: nothing more comes."""
        self.closed = True
        if self._news is not None:
            self._news.wake()

    async def follow(self, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield what was and is told after offset *after*, until the end."""
        news = self._news = self._news or News()
        while True:
            with news.expected() as waiter:
                page = self._after(after)
                for event in page:
                    after = event.offset
                    yield event
                if not page and after < self.offset:
                    after = self.offset  # what was told there is not to be had here
                if after >= self.offset:
                    if self.closed:
                        return
                    await waiter

    def _after(self, after: int) -> list[RunEvent]:
        count = self.offset - after
        if count > len(self._ring) and self._read is not None and (page := self._read(self.feed_id, after)):
            return page
        found = list(islice(reversed(self._ring), max(0, count)))  # of a full ring, readers want the last one or two
        found.reverse()
        return found
