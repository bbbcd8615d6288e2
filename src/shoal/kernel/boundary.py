"""Where a run may be cut without loss: between two of its outermost steps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Boundary"]

_within: ContextVar[bool] = ContextVar("shoal_within_step", default=False)


class Boundary:
    """Counts the outermost steps of a run that are under way, and lets no other begin once it is closed.

    What is done within a step is a part of it: that goes on until the step has ended.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._reached: asyncio.Event | None = None

    async def pass_by(self) -> None:
        """Return when a step may begin: at once, or never when the boundary is closed."""
        if self._reached is not None and not _within.get():
            await asyncio.get_running_loop().create_future()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Count what is done within as a step."""
        if _within.get():
            yield
            return
        token = _within.set(True)
        self._under_way += 1
        try:
            yield
        finally:
            _within.reset(token)
            self._under_way -= 1
            self._look()

    async def reach(self) -> None:
        """Close it, and return when no step is under way."""
        if self._reached is None:
            self._reached = asyncio.Event()
        self._look()
        await self._reached.wait()

    def _look(self) -> None:
        if self._reached is not None and not self._under_way:
            self._reached.set()
