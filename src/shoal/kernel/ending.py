"""Ending work that was told to end: ask, interrupt, and in the end abandon it and build its agent anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.kernel.entry import Entry

__all__ = ["PROMPT_SECONDS", "ended_within", "enforce", "run_bounded"]

PROMPT_SECONDS = 0.25
"""What cancelled code has before its time-out is recorded all the same."""

INTERRUPT_SECONDS = 0.25
"""What interrupted code has before it is abandoned."""


async def ended_within(entry: Entry, seconds: float) -> bool:
    """Wait at most *seconds* for the invocation to end; tell whether it did."""
    assert entry.asyncio_task is not None
    try:
        async with entry.cell.env.clock.timeout(seconds):
            await asyncio.wait([entry.asyncio_task])
    except TimeoutError:
        return entry.asyncio_task.done()
    return True


async def run_bounded(entry: Entry, seconds: float, grace: float) -> Any:
    """Run a hook in an asyncio task of its own and return its value; whatever its code does, this ends.

    Raises TimeoutError after *seconds*, when the hook was cancelled and had *grace* seconds to end; else what it raised.
    """
    env = entry.cell.env
    work = env.watch(entry.cell.handle.invoke(entry.invocation), f"{entry.invocation.hook} of {entry.cell.name}")
    entry.asyncio_task = work
    try:
        if await ended_within(entry, seconds):
            return work.result()
    finally:
        if not work.done():
            entry.stopping = True
            work.cancel()
    await enforce(entry, grace)
    raise TimeoutError(f"{entry.invocation.hook} of {entry.cell.name!r} took longer than {seconds:g} s")


async def enforce(entry: Entry, grace: float) -> None:
    """See to it that a cancelled invocation ends: after *grace* seconds it is interrupted, then abandoned.

    An abandoned invocation is void: it cannot settle, send or write, and its agent is built anew. A process of its own
    has had its grace: it ends now.
    """
    if await ended_within(entry, grace):
        return
    entry.cell.handle.interrupt(entry.invocation.invocation_id)
    if await ended_within(entry, INTERRUPT_SECONDS):
        return
    entry.cell.abandon(entry)
    if entry.cell.handle.process_id is not None:
        entry.cell.handle.kill()
