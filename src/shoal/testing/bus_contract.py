"""What every part of the suite of buses has: buses, and how a test runs with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from shoal.kernel.ports import Bus

__all__ = ["Body", "BusContract"]

Body = Callable[[Bus, Bus], Coroutine[Any, Any, None]]
"""A test, with the bus that asks and the bus that answers."""


class BusContract:
    """Each test runs with one bus (both names mean it) or with two connected ones."""

    def buses(self, count: int) -> AbstractAsyncContextManager[list[Bus]]:
        """Return a context with *count* started buses that reach each other; leaving it stops them."""
        raise NotImplementedError

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run one test on an event loop of its own."""
        asyncio.run(main)

    def check(self, count: int, body: Body) -> None:
        """Run *body* with the bus that asks and the bus that answers."""

        async def main() -> None:
            async with self.buses(count) as buses:
                await body(buses[0], buses[-1])

        self.run(main())
