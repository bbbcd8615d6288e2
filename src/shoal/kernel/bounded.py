"""Work in bounded time: it is cancelled, has a moment to clean up, and is given up if it does not listen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from shoal.kernel.ports import Clock

__all__ = ["CLEAN_UP_SECONDS", "OutOfTime", "bounded", "end", "in_time"]

CLEAN_UP_SECONDS = 1.0
"""What cancelled work has to clean up before it is abandoned."""

log = logging.getLogger("shoal")

T = TypeVar("T")


class OutOfTime(TimeoutError):
    """The time that work was given is over."""


async def bounded(
    work: Coroutine[Any, Any, T],
    seconds: float | None,
    clock: Clock,
    *,
    name: str,
    idle: Callable[[], float] | None = None,
) -> T:
    """Return what *work* returns, or raise what it raises.

    Raises OutOfTime after *seconds* (None: never), not counting those that *idle* tells of. Whether time is up or the caller
    is cancelled: the work is cancelled, and has CLEAN_UP_SECONDS for that.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        return await in_time(lambda: asyncio.shield(task), seconds, clock, idle)
    except OutOfTime:
        if task.done() and not task.cancelled():
            return task.result()  # it ended at the same moment
        raise
    finally:
        if not task.done():
            await end([task], clock)


async def in_time(
    wait: Callable[[], Awaitable[T]], seconds: float | None, clock: Clock, idle: Callable[[], float] | None = None
) -> T:
    """Return what ``wait()`` gives; it is called again when time was up but for what *idle* tells of.

    Raises OutOfTime after *seconds* (None: never), not counting those that *idle* tells of. What is waited for goes on.
    """
    began = clock.monotonic()
    before = 0.0 if idle is None else idle()
    left = seconds
    while True:
        limit = clock.timeout(left)
        try:
            async with limit:
                return await wait()
        except TimeoutError:
            if not limit.expired():
                raise  # its own
        assert seconds is not None, "it expired"
        waited = 0.0 if idle is None else idle() - before
        left = seconds + waited - (clock.monotonic() - began)
        if not waited or left <= 0:
            raise OutOfTime


async def end(tasks: list[asyncio.Task[Any]], clock: Clock) -> list[asyncio.Task[Any]]:
    """Cancel *tasks* and give them CLEAN_UP_SECONDS; return those that were abandoned because they did not end."""
    for task in tasks:
        task.cancel()
    left = set(tasks)
    try:
        async with clock.timeout(CLEAN_UP_SECONDS):
            while left:
                _, left = await asyncio.wait(left)
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            if task.done():
                _look_at(task)
            else:
                log.warning("%s does not end although it was cancelled: it is abandoned", task.get_name())
                task.add_done_callback(_look_at)
    return [task for task in tasks if not task.done()]


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # its caller has gone on: the cancellation is what counts
