"""Working until a signal comes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["until_signalled"]

Step = Callable[[], Coroutine[Any, Any, None]]


async def until_signalled(stop: Step, hurry: Step) -> None:
    """Wait for SIGINT or SIGTERM, then carry out *stop*; at a second signal give that up and carry out *hurry*."""
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def heard() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard)
    try:
        await first.wait()
        stopping = asyncio.create_task(stop(), name="stop")
        again = asyncio.create_task(second.wait(), name="second signal")
        await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait([stopping])
            await hurry()
        again.cancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
