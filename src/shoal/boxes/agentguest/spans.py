"""The spans that end in a child, on their way to the listeners of its runtime: some at a time, never at its work's cost."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.guest.channel import Channel
from shoal.kernel.trace import DoneSpan, listen_to_spans

__all__ = ["SpanPost"]

PAUSE_SECONDS = 0.05
MOST_WAITING = 1000
MOST_BYTES = 32 * 1024
"""Of one frame, and so of one span: text that is longer is no description of a hop."""
UNREAD_BYTES = 1 << 20
"""With so much under way the runtime has more important things to read."""


class SpanPost:
    """Collects spans while the runtime wants them. Those that are too many or too large are counted and dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, send: Callable[[Any], None]) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._channel = channel
        self._send = send
        self._waiting: deque[DoneSpan] = deque()
        self._dropped = 0
        self._due = False  # a flush is arranged
        self._stop: Callable[[], None] | None = None

    def listen(self, record: wire.Listen) -> None:
        """Begin or end to collect, as the runtime says."""
        if record.on and self._stop is None:
            self._stop = listen_to_spans(self._ended)
        elif not record.on and self._stop is not None:
            self._stop()
            self._stop = None
            self._waiting.clear()
            self._dropped = 0

    def _ended(self, done: DoneSpan) -> None:
        """Hear of a span, in the thread in which it ended."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(done)
        if not self._due:
            self._due = True
            if threading.get_ident() == self._thread:
                self._arrange()
            else:
                self._loop.call_soon_threadsafe(self._arrange)

    def _arrange(self) -> None:
        self._loop.call_later(PAUSE_SECONDS, self.flush)

    def flush(self) -> None:
        """Send what has been collected."""
        self._due = False
        if self._channel.unsent > UNREAD_BYTES:
            self._dropped += len(self._waiting)
            self._waiting.clear()
            return
        batch: list[msgspec.Raw] = []
        size = 0
        while self._waiting:
            encoded = _encoded(self._waiting.popleft())
            if encoded is None:
                self._dropped += 1
                continue
            if size + len(encoded) > MOST_BYTES:
                self._post(batch)
                batch, size = [], 0
            batch.append(msgspec.Raw(encoded))
            size += len(encoded)
        if batch or self._dropped:
            self._post(batch)

    def _post(self, batch: list[msgspec.Raw]) -> None:
        dropped, self._dropped = self._dropped, 0
        self._send(wire.Spans(spans=tuple(batch), dropped=dropped))  # type: ignore[arg-type]  # encoded already


def _encoded(done: DoneSpan) -> bytes | None:
    """Return a span as JSON; None when it is too large, or its attributes are no JSON."""
    try:
        encoded = msgspec.json.encode(done)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return encoded if len(encoded) <= MOST_BYTES else None
