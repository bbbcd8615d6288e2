"""Several calls at once: all end before it goes on, whoever fails or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

__all__ = ["end_all", "results_of", "together"]

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do *work* at once and return its results in order.

    The first that raises ends the others, and its error is raised; so does a cancellation from outside. Calls of agents do
    not raise what agents raise, so only what ends the run itself comes out of them.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await end_all(tasks)
    return results_of(tasks)


def results_of(tasks: Iterable[asyncio.Task[T]]) -> list[T]:
    """Return the results of what has ended, or raise the first error; what it has cancelled does not count."""
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if errors:
        raise errors[0]
    return [task.result() for task in tasks]


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what has not ended, and wait for it: calls of agents end within the second that they have to clean up.

    Whoever is cancelled while he waits waits on, and is cancelled then: nothing is left behind.
    """
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    cancelled = False
    while left:
        try:
            _, left = await asyncio.wait(left)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
