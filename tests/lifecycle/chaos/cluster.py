"""Nodes on real servers, work for them, and what is known of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from shoal.client import Client
from shoal.errors import StoreError
from shoal.kernel.event import EventFilter
from shoal.kernel.run import ENDED, RunRecord, RunStatus
from tests.lifecycle.chaos.diary import TALLY, Diary
from tests.lifecycle.chaos.loads import Follower, Submitter
from tests.lifecycle.chaos.member import Member, Servers
from tests.lifecycle.chaos.wires import Link, Proxied, Straight, Wires
from tests.support.history import History, Line, read_diary

__all__ = ["LONG_LEASE_SECONDS", "SEED", "SOAK_SECONDS", "Cluster", "chaos"]

SEED = int(os.environ.get("CHAOS_SEED", "47"))
SOAK_SECONDS = 3600.0

SHORT_LEASE_SECONDS = 4.0
LONG_LEASE_SECONDS = 8.0
"""For nodes that may fall silent in a transaction: the server ends that after 5 s, and till then nobody writes."""
GUARD_SECONDS = 60.0
WIRES: dict[str, Callable[[dict[Any, str], int], Wires]] = {
    "straight": lambda urls, number: Straight(urls),
    "proxied": lambda urls, number: Proxied(urls),
    "linked": Link,
}


class Cluster:
    """Open it with ``chaos``. What is done to it (``harm``) is done one after the other, by its own ``chance``."""

    def __init__(self, servers: Servers, folder: Path, chance: random.Random, lease: float) -> None:
        self.servers = servers
        self.chance = chance
        self.lease = lease
        self._file = folder / "diary"
        self._quiet = folder / "quiet"
        self._diary = Diary(str(self._file))
        self.nodes: list[Member] = []
        self.client = Client(store=servers.store, bus=servers.bus)
        self.submitter = Submitter(self.client, self._quiet)
        self._follower = Follower(self.client)
        self._loads: list[asyncio.Task[None]] = []

    # -- life

    async def open(self, skews: Sequence[float], wires: str) -> None:
        """Start a node for each skew, and give them work."""
        urls = {"store": self.servers.store, "bus": self.servers.bus}
        for number, skew in enumerate(skews):
            self.nodes.append(Member(f"n{number}", skew, WIRES[wires](dict(urls), number)))
        await self.start(self.nodes[0])  # alone: the tables are made once
        await asyncio.gather(*map(self.start, self.nodes[1:]))
        await self.client.open()
        self._loads = [asyncio.create_task(self.submitter.submit()), asyncio.create_task(self._follower.follow())]

    async def close(self) -> None:
        """End whatever is left."""
        for load in self._loads:
            load.cancel()
        if self._loads:
            await asyncio.wait(self._loads)
        await self.client.close()
        for node in self.nodes:
            node.close()
        self._diary.close()

    async def start(self, node: Member) -> None:
        """Begin a life of a node, and wait until it works."""
        listeners = [f"listener-{each.name}" for each in self.nodes]
        await node.start(diary=str(self._file), quiet=str(self._quiet), listeners=listeners, lease=self.lease)

    def strike(self, node: Member, kind: str = "killed") -> None:
        """End a life by SIGKILL."""
        self.note(kind, node.life)
        node.kill()

    async def leave(self, node: Member) -> None:
        """End a life in order, and hold it to that."""
        self.note("drained", node.life)
        node.process.signal(signal.SIGTERM)
        code = await asyncio.to_thread(node.process.process.wait, GUARD_SECONDS)
        assert code == 0, f"node {node.life} ended with {code}"
        node.kill()  # what is left of it is reaped

    # -- the end

    async def finish(self) -> History:
        """Let all be done and heard, end the nodes in order, and return what happened."""
        await self.revive()
        self._quiet.touch()
        await asyncio.wait(self._loads[:1])
        self._loads[0].result()
        for fact in (self._no_task_is_left, self._no_run_is_left, self._all_heard):
            await self.within(fact)  # what does not come true is found in the history
        await asyncio.gather(*map(self.leave, self.nodes))
        store = self.client.store
        await self.within(lambda: self._follower.last >= store.events.last_id())
        runs = store.runs.search(pattern="errand", limit=1_000_000)
        return History(
            diary=read_diary(self._file),
            tasks=store.tasks.search(limit=1_000_000),
            events=list(store.events.scan(EventFilter())),
            acknowledged=self.submitter.acknowledged,
            followed=self._follower.seen,
            runs=runs,
            results={run.run_id: self.client.runs.result(run.run_id) for run in runs if run.status in ENDED},
            tallies=self._tallies(),
            lease=self.lease,
        )

    def _tallies(self) -> dict[str, list[str]]:
        kv, now = self.client.store.kv, datetime.now(UTC)
        found = (kv.get(key, now=now) for key in kv.keys(TALLY, now=now))
        return {entry.key: entry.value for entry in found if entry is not None}

    def _no_task_is_left(self) -> bool:
        counts = self.client.store.tasks.counts()
        return not any(map(counts.get, ("pending", "running")))

    def _no_run_is_left(self) -> bool:
        def left(status: RunStatus) -> Sequence[RunRecord]:
            return self.client.store.runs.search(status=status, pattern="errand", limit=100_000)

        return not left(RunStatus.RUNNING) and all(run.stopped for run in left(RunStatus.INTERRUPTED))

    def _all_heard(self) -> bool:
        lines = self.lines(0)
        heard = {(line.message, line.to) for line in lines if line.kind == "heard"}
        return all((line.message, line.to) in heard for line in lines if line.kind == "said" and line.durable)

    # -- facts

    def note(self, kind: str, life: str = "", key: str = "") -> None:
        """Add a line about what was done to a life, or to all."""
        self._diary.life = life
        self._diary.note(kind, key=key)

    def lines(self, offset: int) -> list[Line]:
        """Return what was added to the diary since it had so many bytes."""
        with self._file.open("rb") as file:
            file.seek(max(0, offset - 1))
            whole, _, _ = file.read().rpartition(b"\n")  # of a line that is being written a part may be seen
        if offset:  # and it may have been seen when the size was asked for
            _, _, whole = whole.partition(b"\n")
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]

    @property
    def size(self) -> int:
        """How many bytes the diary has."""
        return self._file.stat().st_size

    async def moment(self) -> None:
        """Wait for a moment that nobody knows before: a few tasks later, somewhere in the midst of what comes then."""
        await self.revive()
        here, tasks = self.size, self.chance.randint(5, 25)
        await self.until(lambda: sum(line.kind == "begin" for line in self.lines(here)) >= tasks, "work goes on")
        await asyncio.sleep(self.chance.uniform(0, 0.05))

    async def others_work(self, node: Member) -> None:
        """Wait until another node begins something."""
        here = self.size
        await self.until(
            lambda: any(line.kind == "begin" and line.life != node.life for line in self.lines(here)), "the others work"
        )

    async def all_work(self) -> None:
        """Wait until each node begins something, or start it again when it has lost its lease."""
        await asyncio.gather(*map(self._recover, self.nodes))

    async def revive(self) -> None:
        """Start what was given up for whatever reason; that it was is found in the history."""
        await asyncio.gather(*(self._recover(node) for node in self.nodes if self.is_lost(node.life)))

    async def _recover(self, node: Member) -> None:
        """Wait until a node works again. One that was given up must know it; as its supervisor would, start it anew."""
        here, life = self.size, node.life

        def works() -> bool:
            return any(line.kind == "begin" and line.life == life for line in self.lines(here))

        await self.until(lambda: self.is_lost(life) or works(), f"node {life} works again")
        if not self.is_lost(life):
            return
        told = EventFilter(node_id=life, event_type="lease_lost")
        await self.until(lambda: self.client.store.events.query(told, 1), f"node {life} knows that it is lost")
        self.strike(node, "ended")
        await self.start(node)

    def is_lost(self, life: str) -> bool:
        """Tell whether a life was given up. Raises StoreError."""
        return all(node.node_id != life or node.lost for node in self.client.list_nodes())

    async def until(self, fact: Callable[[], object], what: str) -> None:
        """Wait for a fact that must come true."""
        assert await self.within(fact), f"in {GUARD_SECONDS:g} s it did not become true that {what}"

    async def within(self, fact: Callable[[], object]) -> bool:
        """Wait for a fact, and tell whether it came; a store that does not answer says nothing."""
        deadline = time.monotonic() + GUARD_SECONDS
        while time.monotonic() < deadline:
            try:
                if fact():
                    return True
            except StoreError:
                pass
            await asyncio.sleep(0.02)
        return False


@asynccontextmanager
async def chaos(
    servers: Servers,
    folder: Path,
    seed: int,
    *,
    lease: float = SHORT_LEASE_SECONDS,
    skews: Sequence[float] = (0.0, 0.0, 0.0),
    wires: str = "straight",
) -> AsyncIterator[Cluster]:
    """Run nodes under load on *servers*, one for each of *skews* (seconds), joined to them by *wires* (see ``WIRES``)."""
    print(f"seed {seed}")
    cluster = Cluster(servers, folder, random.Random(seed), lease)
    try:
        await cluster.open(skews, wires)
        yield cluster
    finally:
        await cluster.close()
