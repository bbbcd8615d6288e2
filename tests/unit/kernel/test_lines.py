"""Standing in line: who goes away at the very moment he is let in holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal.kernel.clock import RealClock
from shoal.kernel.lines import Lines

Run = Callable[..., Any]


async def _enter(lines: Lines, timeout: float | None = None) -> bool:
    clock = RealClock()
    return await lines.enter("k", clock, None if timeout is None else clock.monotonic() + timeout)


def test_who_is_cancelled_as_he_is_let_in_lets_the_next_one_in(run: Run) -> None:
    async def main() -> None:
        lines = Lines()
        assert await _enter(lines)
        first, second = asyncio.create_task(_enter(lines)), asyncio.create_task(_enter(lines))
        await asyncio.sleep(0.01)
        lines.leave("k")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second
        lines.leave("k")
        assert not lines.occupied("k")

    run(main, 20)


def test_who_is_cancelled_before_is_passed_over(run: Run) -> None:
    async def main() -> None:
        lines = Lines()
        assert lines.try_enter("k") and not lines.try_enter("k")
        first, second = asyncio.create_task(_enter(lines)), asyncio.create_task(_enter(lines))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not await _enter(lines, 0.01)
        lines.leave("k")
        assert await second

    run(main, 20)


def test_one_whose_loop_is_closed_waits_no_more(run: Run) -> None:
    lines = Lines()
    assert lines.try_enter("k")
    abandoned = asyncio.new_event_loop()
    waits = abandoned.create_task(_enter(lines))
    abandoned.run_until_complete(asyncio.sleep(0.01))

    async def main() -> None:
        waits._log_destroy_pending = False  # type: ignore[attr-defined]
        abandoned.close()
        task = asyncio.create_task(_enter(lines))
        await asyncio.sleep(0.01)
        lines.leave("k")
        assert await task

    run(main, 20)
