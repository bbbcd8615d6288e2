"""Locks: taking one that is free, and passing one between two processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import folder, run
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 1000}
HELD_SECONDS = 0.002


def shoal(count: int) -> dict[str, float]:
    """Return medians in milliseconds."""
    return run(_shoal(count))


async def _shoal(count: int) -> dict[str, float]:
    from shoal import LockManager, open_store

    with folder() as path:
        url = f"sqlite:///{path}/shoal.db"
        async with open_store(url) as store:
            manager = LockManager(store)
            seconds = []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                async with manager.lock("free", "k"):
                    pass
                seconds.append(time.perf_counter() - begun)
                await asyncio.sleep(0)
        return {"free_ms": _median(seconds[count // 10 :]), "passed_ms": _median(_pass(url, count // 4))}


def _pass(url: str, count: int) -> list[float]:
    """Let two processes take one lock in turns; return how long it was nobody's, each time it went from one to the other."""
    command = [sys.executable, "-c", "from benchmarks.locks import take; take()", url, str(count)]
    root = Path(__file__).parents[1]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    turns = [(*turn, who) for who, child in enumerate(children) for turn in json.loads(child.communicate()[0])]
    turns.sort()
    return [after[1] - before[2] for before, after in itertools.pairwise(turns) if before[3] != after[3]]


def take() -> None:
    """Take a lock again and again; print its tokens, and when it was taken and given back."""
    asyncio.run(_take(sys.argv[1], int(sys.argv[2])))


async def _take(url: str, count: int) -> None:
    from shoal import LockManager, open_store

    turns = []
    async with open_store(url) as store:
        manager = LockManager(store)
        for _ in range(count):
            async with manager.lock("passed", "k") as lock:
                taken = time.monotonic()
                await asyncio.sleep(HELD_SECONDS)
                turns.append((lock.token, taken, time.monotonic()))
    print(json.dumps(turns))


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2] * 1000


MEASUREMENTS = (
    Measurement(
        name="locks",
        what="a lock in a store: taken and given back when it is free; passed between two processes",
        figures={"free_ms": "free, p50 ms", "passed_ms": "passed, p50 ms"},
        entries=(Entry("shoal", "benchmarks.locks:shoal", ARGUMENTS),),
        bounds=(Bound("free_ms", "goal", most=0.3), Bound("passed_ms", "goal", most=3)),
        quick={"count": 40},
    ),
)
