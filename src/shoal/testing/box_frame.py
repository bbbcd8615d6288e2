"""What the suites of boxes share: a runtime at a level, and how often a test repeats there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.boxes import Box, BoxRuntime, LogLine
from shoal.testing.clock import run_checked

__all__ = ["BoxFrame", "until"]

_HANG_SECONDS = {"process": 60.0, "bubblewrap": 60.0, "gvisor": 120.0, "microvm": 300.0}
_SHARE = {"process": 1.0, "bubblewrap": 1.0, "gvisor": 0.1, "microvm": 0.0}


async def until(fact: Callable[[], bool]) -> None:
    """Wait until *fact* holds."""
    while not fact():  # noqa: ASYNC110 - the fact is in a box, and rings no bell here
        await asyncio.sleep(0.005)


class BoxFrame:
    """A level, and what its tests need."""

    level = "process"

    @pytest.fixture(autouse=True)
    def _at_level(self, level: str) -> None:
        self.level = level

    def rounds(self, full: int, few: int) -> int:
        """Return how often to repeat: *full* in long runs, else *few*; a tenth of it in gvisor, two in a microVM."""
        count = full if os.environ.get("SHOAL_LONG") == "full" else few
        return max(2, int(count * _SHARE.get(self.level, 1.0)))

    def options(self) -> dict[str, Any]:
        """Return further arguments of the BoxRuntime; a third party's suite may add its own."""
        return {}

    @asynccontextmanager
    async def runtime(self, **options: Any) -> AsyncIterator[BoxRuntime]:
        """Open a runtime at the level, which keeps what boxes print to itself."""
        async with BoxRuntime(self.level, **{"logs": "none", **self.options(), **options}) as runtime:
            yield runtime

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one test on a loop of its own: a hang ends, and no error is lost."""

        async def guarded() -> None:
            async with asyncio.timeout(_HANG_SECONDS.get(self.level, 60.0)):
                await main()

        run_checked(guarded)

    def check(self, body: Callable[[BoxRuntime], Coroutine[Any, Any, None]], **options: Any) -> None:
        """Run *body* with a runtime."""

        async def main() -> None:
            async with self.runtime(**options) as runtime:
                await body(runtime)

        self.run(main)

    @staticmethod
    def texts(lines: list[LogLine]) -> list[str]:
        """Return what the lines say."""
        return [line.text for line in lines]

    @staticmethod
    async def serving(box: Box) -> Box:
        """Run a box and return it."""
        await box.run()
        return box
