"""Disks that are bad: one that stalls, one that is slow, one that is full."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.lifecycle.chaos.cluster import Cluster
from tests.lifecycle.chaos.harm import start_postgres

__all__ = ["can_be_slow", "fill", "slow", "stall"]

BLKIO = Path("/sys/fs/cgroup/blkio")
WRITES_A_SECOND = 40
LONGEST_STALL_SECONDS = 0.5


def _family(pid: int) -> list[int]:
    """Return the processes of a server: the first one and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _server(cluster: Cluster) -> int:
    pid = cluster.servers.postgres.process.pid
    assert pid is not None
    return pid


async def stall(cluster: Cluster) -> None:
    """Let the processes of PostgreSQL stand still for moments, as when they wait for a disk that does not answer.

    Some of them, or all: who is stopped may have locks that the others want, as one that waits for the disk does.
    """
    await cluster.moment()
    cluster.note("disk", key="stalls")
    seed = cluster.chance.random()
    # In a thread: a client of this process that waits for one who is stopped must not keep him from going on.
    await asyncio.to_thread(_stall, _server(cluster), random.Random(seed))
    await cluster.all_work()


def _stall(server: int, chance: random.Random) -> None:
    for _ in range(chance.randint(4, 12)):
        stopped = _stop_some(server, chance)
        time.sleep(chance.uniform(0.05, LONGEST_STALL_SECONDS))
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        time.sleep(chance.uniform(0, 0.2))


def _stop_some(server: int, chance: random.Random) -> list[int]:
    family = sorted(_family(server)[1:])
    chosen = family if chance.random() < 0.3 else chance.sample(family, max(1, len(family) // 2))
    stopped = []
    for pid in chosen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
    return stopped


# -- slow


def can_be_slow() -> bool:
    """Tell whether a disk can be made slow here: by a control group of block devices."""
    return (BLKIO / "blkio.throttle.write_iops_device").exists() and os.access(BLKIO, os.W_OK)


@asynccontextmanager
async def _throttled(folder: Path, server: int) -> AsyncIterator[None]:
    """Let the processes of a server write to the disk of *folder* only so many times a second."""
    device = os.stat(folder).st_dev
    group = BLKIO / f"shoal-test-{server}"
    group.mkdir()
    try:
        limit = f"{os.major(device)}:{os.minor(device)} {WRITES_A_SECOND}"
        (group / "blkio.throttle.write_iops_device").write_text(limit)
        _move(server, group)
        yield
    finally:
        _move(server, BLKIO)
        while _members(group):  # those that were born meanwhile
            for pid in _members(group):
                _assign(pid, BLKIO)
            await asyncio.sleep(0.01)
        group.rmdir()


def _move(server: int, group: Path) -> None:
    for pid in _family(server):
        _assign(pid, group)


def _assign(pid: int, group: Path) -> None:
    with suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))


def _members(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


async def slow(cluster: Cluster) -> None:
    """Let the disk of PostgreSQL take a few writes a second for a while."""
    await cluster.moment()
    cluster.note("disk", key="slow")
    async with _throttled(cluster.servers.postgres.folder, _server(cluster)):
        await asyncio.sleep(cluster.chance.uniform(1, cluster.lease / 2))
    await cluster.all_work()


# -- full


async def fill(cluster: Cluster) -> None:
    """Let the disk of PostgreSQL be full until the store refuses to write, and a while longer; then make room again.

    A server that ended for want of room is started again, as its supervisor would.
    """
    await cluster.moment()
    cluster.note("disk", key="full")
    ballast = cluster.servers.postgres.folder / "ballast"
    refused = cluster.submitter.refused
    await asyncio.to_thread(_fill, ballast)
    await cluster.until(lambda: cluster.submitter.refused > refused, "the store refuses what it cannot write")
    await asyncio.sleep(cluster.chance.uniform(0, cluster.lease / 4))
    ballast.unlink()
    await start_postgres(cluster)
    await cluster.all_work()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
