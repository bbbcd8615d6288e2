"""What ours and the peers' have in common when a turn of a model is measured: the words, the timing, the one core."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from benchmarks.common import keep_in_flight, percentile, resident_kb, spread

QUESTION = "What is the capital of France?"
ANSWER = "Paris."
ROLE = "You answer in one word."

Turn = Callable[[], Awaitable[object]]


async def over(turn: Turn, raw: Turn, count: int) -> dict[str, float]:
    """Return what *turn* takes over *raw*, one at a time and by turns: p50 and p99 in milliseconds."""
    whole, bare = [], []
    for _ in range(count + count // 10):
        whole.append(await _seconds(turn))
        bare.append(await _seconds(raw))
    base = percentile(bare[count // 10 :], 0.5)
    return spread([seconds - base for seconds in whole[count // 10 :]])


async def alone(turn: Turn, count: int) -> dict[str, float]:
    """Return what *turn* takes, one at a time: p50 and p99 in milliseconds."""
    seconds = [await _seconds(turn) for _ in range(count + count // 10)]
    return spread(seconds[count // 10 :])


async def many(turn: Turn, count: int, at_once: int) -> dict[str, float]:
    """Return turns a second; see ``one_core``."""

    async def start() -> None:
        await turn()

    await keep_in_flight(start, max(at_once, count // 10), at_once)
    return {"per_s": await keep_in_flight(start, count, at_once)}


def one_core() -> None:
    """Keep this thread, and all that are begun from now on, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def process_mb() -> dict[str, float]:
    """Return the resident memory of this process in MiB."""
    return {"process_mb": resident_kb() / 1024}


async def _seconds(turn: Turn) -> float:
    begun = time.perf_counter()
    await turn()
    return time.perf_counter() - begun
