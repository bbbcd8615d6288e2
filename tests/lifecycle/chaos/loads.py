"""What a client gives the nodes of a chaos test to do, and what it hears of it."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path
from typing import Any

from shoal import RetryPolicy
from shoal.client import Client
from shoal.errors import BusError, StoreError
from tests.support.history import WORKS

__all__ = ["Follower", "Submitter"]

LONGEST_SECONDS = 0.3
RETRY = RetryPolicy(max_retries=100, initial_seconds=0.1, factor=1.0)
PAUSE_SECONDS = 0.02
AGAIN_SECONDS = 0.05
AGAIN = 0.1
"""Which share of tasks is submitted twice at once, as by a caller who has lost patience."""


class Submitter:
    """Submits tasks of every kind, each with a key of its own, until the quiet.

    One whose submission failed may be there or not: it is submitted again, with its key, until it is acknowledged.
    """

    def __init__(self, client: Client, quiet: Path) -> None:
        self._client = client
        self._quiet = quiet
        self._chance = random.Random(0)  # of its own: how much is submitted must not change what is done
        self.acknowledged: list[str] = []
        self.refused = 0

    async def submit(self) -> None:
        """Submit on and on."""
        for number in itertools.count():
            if self._quiet.exists():
                return
            order = self._next(number)
            times = 2 if self._chance.random() < AGAIN else 1
            ids = await asyncio.gather(*(self._acknowledged(*order) for _ in range(times)))
            self.acknowledged += dict.fromkeys(ids)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _acknowledged(self, work: str, given: dict[str, Any], options: dict[str, Any]) -> str:
        while True:
            try:
                return await self._client.submit_task(work, given, **options)
            except (StoreError, BusError):
                self.refused += 1
                await asyncio.sleep(AGAIN_SECONDS)

    def _next(self, number: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
        work = self._chance.choices(list(WORKS), list(WORKS.values()))[0]
        given: dict[str, Any] = {"work": work, "number": number, "pause": self._chance.uniform(0, LONGEST_SECONDS)}
        options: dict[str, Any] = {"idempotency_key": str(number), "retry": RETRY, "capability": "work"}
        if work == "flaky":
            given["failures"] = self._chance.randint(1, 3)
        elif work == "after":
            options["dependencies"] = self._chance.sample(self.acknowledged[-10:], min(2, len(self.acknowledged)))
        elif work == "kept":
            del options["capability"]
            options["agent"] = "keeper"
            given["pause"] /= 3  # one agent has all of these
        return work, given, options


class Follower:
    """Follows all events, and goes on after the last one when the store was away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: list[int] = []

    @property
    def last(self) -> int:
        """The last id it saw."""
        return self.seen[-1] if self.seen else 0

    async def follow(self) -> None:
        """Follow on and on."""
        while True:
            try:
                async for event in self._client.follow_events(self.last):
                    self.seen.append(event.event_id)
            except StoreError:
                await asyncio.sleep(AGAIN_SECONDS)
