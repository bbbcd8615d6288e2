"""A bound on how many calls run at a time, so that one slow part does not take up all of the others' room."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from shoal.errors import RequestError
from shoal.services import codes

__all__ = ["Bulkhead"]


class Bulkhead:
    """Runs at most *max_concurrent* blocks at a time; up to *max_waiting* more wait, first come, first served.

    ``async with bulkhead: ...``; belongs to one event loop. The name and the idea are Nygard's (Release It!, 2007).

    Args:
        max_concurrent: blocks at a time.
        max_waiting: how many may wait, 0 or more.

    Attributes:
        running: how many run.

    Raises:
        ValueError: a number is not positive.
    """

    def __init__(self, max_concurrent: int = 10, max_waiting: int = 100) -> None:
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent must be positive, not {max_concurrent!r}")
        if max_waiting < 0:
            raise ValueError(f"max_waiting must not be negative, not {max_waiting!r}")
        self.running = 0
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._line: deque[asyncio.Future[None]] = deque()  # none of them has its turn yet

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    async def __aenter__(self) -> Bulkhead:
        """Wait for a place. Raises RequestError BULKHEAD_FULL at once when too many wait already."""
        if self.running < self._max_concurrent:
            self.running += 1
            return self
        if len(self._line) >= self._max_waiting:
            raise RequestError(
                codes.BULKHEAD_FULL, f"{self.running} requests run and {len(self._line)} wait, which is all there may"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # the place came just then
            elif turn in self._line:
                self._line.remove(turn)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place to whoever waits longest."""
        self._leave()

    def _leave(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)  # the place passes on: ``running`` stays
                return
        self.running -= 1
