"""A process that takes a lock: ``taker.py PLACE FOLDER ROUNDS [hold | update N]``.

PLACE is ``files``, or a store by URL. Each round takes the lock ``race:k``, makes sure that nobody else is in, and writes
its token to ``FOLDER/tokens``. With ``hold`` it takes it once more, with a ttl of 1 s, says so and holds it till it is
killed. With ``update N`` it updates one user instead: every other of 100 keys, from N on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shoal import LockManager, UserContextStore, open_store

TTL_SECONDS = 1.0


@asynccontextmanager
async def managed(place: str) -> AsyncIterator[LockManager]:
    """Open the place."""
    if place == "files":
        yield LockManager()
        return
    async with open_store(place) as store:
        yield LockManager(store)


def inside(folder: Path, token: int) -> None:
    """Be in alone: a second one at the same time finds the marker, and fails."""
    marker = folder / "inside"
    os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with (folder / "tokens").open("a") as file:
        file.write(f"{token}\n")
    marker.unlink()


async def take(manager: LockManager, folder: Path, rounds: int) -> None:
    """Take it so many times."""
    for _ in range(rounds):
        async with manager.lock("race", "k", 60) as lock:
            inside(folder, lock.token)
        await asyncio.sleep(0)


async def hold(manager: LockManager) -> None:
    """Take it, and keep it."""
    async with manager.lock("race", "k", 60, ttl=TTL_SECONDS) as lock:
        print(lock.token, flush=True)
        await asyncio.sleep(600)


async def update(place: str, first: int) -> None:
    """Update one user: every other of 100 keys."""
    async with open_store(place) as store:
        for n in range(first, 100, 2):
            await UserContextStore(store).update("phil", {f"key{n}": n})


async def main() -> None:
    """Do what the command line says."""
    place, folder, rounds, *rest = sys.argv[1:]
    if rest[:1] == ["update"]:
        await update(place, int(rest[1]))
        return
    async with managed(place) as manager:
        await take(manager, Path(folder), int(rounds))
        if rest == ["hold"]:
            await hold(manager)


if __name__ == "__main__":
    asyncio.run(main())
