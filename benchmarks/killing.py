"""Instances that are killed while requests are under way to them: what became of the requests. The same for all."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["HANDLER_SECONDS", "INSTANCES", "Victims", "killed"]

INSTANCES = 8
HANDLER_SECONDS = 0.005
SILENCE_SECONDS = 5.0
"""Who has neither an answer nor an error after so long has none."""
BEFORE = 6
AFTER = 2


class Victims(Protocol):
    """Instances that answer after HANDLER_SECONDS, and come back after they were killed."""

    @property
    def names(self) -> Sequence[Any]:
        """Who they are."""
        ...

    async def ask(self, name: Any) -> object:
        """Return the answer of an instance; raise what whoever asks is told instead."""
        ...

    def kill(self, name: Any) -> None:
        """Kill its process."""
        ...

    async def back(self, name: Any) -> None:
        """Return when it is there again, and start it where nobody else does."""
        ...


async def killed(victims: Victims, count: int, seed: int = 1) -> dict[str, float]:
    """Kill *count* times, in turn, with BEFORE requests under way; AFTER more are sent right after it.

    At most half of the instances are away at a time.
    """
    chance = random.Random(seed)
    ended: Counter[str] = Counter()
    longest = 0.0

    async def ask(name: Any) -> None:
        nonlocal longest
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as limit:
                await victims.ask(name)
            ended["answered"] += 1
        except Exception:
            if limit.expired():
                ended["unanswered"] += 1
                return
            ended["told"] += 1
        longest = max(longest, time.perf_counter() - begun)

    asked: list[asyncio.Task[None]] = []
    coming: list[asyncio.Task[None]] = []
    for number in range(count):
        name = victims.names[number % len(victims.names)]
        if number >= len(victims.names) // 2:
            await coming[number - len(victims.names) // 2]
        asked += [asyncio.create_task(ask(name)) for _ in range(BEFORE)]
        await asyncio.sleep(chance.random() * 4 * HANDLER_SECONDS)
        victims.kill(name)
        asked += [asyncio.create_task(ask(name)) for _ in range(AFTER)]
        coming.append(asyncio.create_task(victims.back(name)))
    await asyncio.gather(*asked, *coming)
    return {
        "unanswered": ended["unanswered"],
        "told": ended["told"],
        "answered": ended["answered"],
        "longest_ms": longest * 1e3,
    }
