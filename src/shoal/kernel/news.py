"""Waiting until it is worth looking again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["News"]


class News:
    """Wakes those who wait for something new in the store. After ``close`` nobody waits for it any more."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._why_closed: Callable[[], Exception] | None = None

    def expected(self) -> _Expected:
        """Give a future that ends with the next news. Look after you have it and before you await it: then none is
        missed."""
        if self._why_closed is not None:
            raise self._why_closed()
        return _Expected(self._waiters)

    def wake(self) -> None:
        """Let the waiting look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self, why: Callable[[], Exception]) -> None:
        """End all waits, also those to come, each with an error that *why* makes."""
        self._why_closed = why
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(why())
                waiter.exception()  # who does not await it is refused when he expects the next


class _Expected:
    """A context that gives one future to wait for. Written out: those who follow a run enter one for each of its news."""

    __slots__ = ("_waiter", "_waiters")

    def __init__(self, waiters: set[asyncio.Future[None]]) -> None:
        self._waiters = waiters

    def __enter__(self) -> asyncio.Future[None]:
        self._waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(self._waiter)
        return self._waiter

    def __exit__(self, *raised: object) -> None:
        self._waiters.discard(self._waiter)
