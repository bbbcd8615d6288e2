"""Three nodes on real servers, work for them, and the bad things that can be done to them."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from shoal import RetryPolicy
from shoal.client import Client
from shoal.errors import BusError, ServerError, StoreError
from shoal.kernel.event import EventFilter
from tests.lifecycle.chaos.member import Member, Servers, Way
from tests.support.history import History, Line, read_diary

__all__ = ["LONG_LEASE_SECONDS", "Cluster", "chaos"]

SHORT_LEASE_SECONDS = 2.0
LONG_LEASE_SECONDS = 8.0
"""For nodes that may fall silent in a transaction: the server ends that after 5 s, and till then nobody writes."""
GUARD_SECONDS = 60.0
WORKS = ("plain", "plain", "steps", "steps", "guarded", "locked")
LONGEST_SECONDS = 0.3
RETRY = RetryPolicy(max_retries=100, initial_seconds=0.1, factor=1.0)


class Cluster:
    """Open it with ``chaos``. What is done to it is done one after the other, by its own ``chance``."""

    def __init__(self, servers: Servers, folder: Path, chance: random.Random, lease: float) -> None:
        self.servers = servers
        self.chance = chance
        self.lease = lease
        self._diary = folder / "diary"
        self._quiet = folder / "quiet"
        self._file = os.open(self._diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.nodes: list[Member] = []
        self.client = Client(store=servers.store, bus=servers.bus)
        self._acknowledged: list[str] = []
        self._followed: list[int] = []
        self._loads: list[asyncio.Task[None]] = []

    # -- life

    async def open(self, skews: dict[str, float], *, proxied: bool) -> None:
        """Start a node for each name, with its skew, and give them work."""
        self.nodes = [Member(name, skew, self.servers, proxied=proxied) for name, skew in skews.items()]
        await self.start(self.nodes[0])  # alone: the tables are made once
        await asyncio.gather(*map(self.start, self.nodes[1:]))
        await self.client.open()
        self._loads = [asyncio.create_task(self._submit()), asyncio.create_task(self._follow())]

    async def close(self) -> None:
        """End whatever is left."""
        for load in self._loads:
            load.cancel()
        if self._loads:
            await asyncio.wait(self._loads)
        await self.client.close()
        for node in self.nodes:
            node.close()
        os.close(self._file)

    async def start(self, node: Member) -> None:
        """Begin a life of a node, and wait until it works."""
        listeners = [f"listener-{each.name}" for each in self.nodes]
        await node.start(diary=str(self._diary), quiet=str(self._quiet), listeners=listeners, lease=self.lease)

    # -- bad things

    async def kill(self) -> None:
        """End a node by SIGKILL, and start it again: at once, or when the others know."""
        node = self.chance.choice(self.nodes)
        await self._moment()
        self._strike(node)
        if self.chance.random() < 0.5:
            await self._until(lambda: self._is_lost(node.life), "the others know that a node is dead")
        await self.start(node)

    async def freeze(self) -> None:
        """Stop a node until others have its work, as a rule, and let it go on."""
        node = self.chance.choice(self.nodes)
        await self._moment()
        self._note("frozen", node.life)
        node.process.signal(signal.SIGSTOP)
        if self.chance.random() < 0.75:
            await self._until(lambda: self._is_lost(node.life), "the others know that a node is silent")
            await self._others_work(node)
        else:
            await asyncio.sleep(self.chance.uniform(0, self.lease / 2))
        self._note("thawed", node.life)
        node.process.signal(signal.SIGCONT)
        await self._all_work()

    async def cut(self, what: Way) -> None:
        """Cut a node off from a server for a while."""
        node = self.chance.choice(self.nodes)
        await self._moment()
        self._note("cut", node.life)
        node.proxies[what].cut()
        await asyncio.sleep(self.chance.uniform(0.2, 1.5 * self.lease))
        node.proxies[what].heal(broken=self.chance.random() < 0.5)
        self._note("healed", node.life)
        await self._all_work()

    async def restart_postgres(self) -> None:
        """End the server by SIGKILL, and start it again on its port."""
        await self._moment()
        self._note("server")
        await self.servers.postgres.process.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        while True:
            try:
                await self.servers.postgres.start()
                break
            except ServerError as error:
                if "shared memory block" not in str(error) and "lock file" not in str(error):
                    raise
        await self._all_work()

    async def restart_nats(self) -> None:
        """End the server by SIGKILL, and start it again on its port."""
        await self._moment()
        self._note("server")
        await self.servers.nats.process.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        await self.servers.nats.start()
        await self._all_work()

    # -- the end

    async def finish(self) -> History:
        """Let all be done and heard, end the nodes in order, and return what happened."""
        self._quiet.touch()
        await asyncio.wait(self._loads[:1])
        self._loads[0].result()
        await self._within(lambda: not any(map(self._counts().get, ("pending", "running"))))
        await self._within(self._all_heard)
        for node in self.nodes:
            node.process.signal(signal.SIGTERM)
        codes = [await asyncio.to_thread(node.process.process.wait, GUARD_SECONDS) for node in self.nodes]
        assert codes == [0] * len(self.nodes), f"the nodes ended with {codes}"
        store = self.client.store
        await self._within(lambda: self._followed[-1] >= store.events.last_id())
        return History(
            diary=read_diary(self._diary),
            tasks=store.tasks.search(limit=1_000_000),
            events=list(store.events.scan(EventFilter())),
            acknowledged=self._acknowledged,
            followed=self._followed[1:],
            lease=self.lease,
            skewed=any(node.skew for node in self.nodes),
        )

    # -- load

    async def _submit(self) -> None:
        chance = random.Random(0)  # of its own: how much is submitted must not change what is done
        for number in itertools.count():
            if self._quiet.exists():
                return
            work = chance.choice(WORKS)
            given = {"work": work, "pause": chance.uniform(0, LONGEST_SECONDS)}
            try:
                options: Any = {"idempotency_key": str(number), "retry": RETRY}
                self._acknowledged.append(await self.client.submit_task(work, given, **options))
            except (StoreError, BusError):
                await asyncio.sleep(0.05)  # it may be there or not
            await asyncio.sleep(0.02)

    async def _follow(self) -> None:
        self._followed.append(0)  # before all ids
        while True:
            try:
                async for event in self.client.follow_events(self._followed[-1]):
                    self._followed.append(event.event_id)
            except StoreError:
                await asyncio.sleep(0.05)

    # -- facts

    def _note(self, kind: str, life: str = "") -> None:
        line = {"at": time.monotonic(), "kind": kind, "life": life}
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def _lines(self, offset: int) -> list[Line]:
        with self._diary.open("rb") as file:
            file.seek(offset)
            return [msgspec.json.decode(line, type=Line) for line in file.read().splitlines()]

    def _size(self) -> int:
        return self._diary.stat().st_size

    async def _moment(self) -> None:
        """Wait for a moment that nobody knows before: a few tasks later, somewhere in the midst of what comes then."""
        here, tasks = self._size(), self.chance.randint(5, 25)
        await self._until(lambda: sum(line.kind == "begin" for line in self._lines(here)) >= tasks, "work goes on")
        await asyncio.sleep(self.chance.uniform(0, 0.05))

    async def _others_work(self, node: Member) -> None:
        here = self._size()
        await self._until(
            lambda: any(line.kind == "begin" and line.life != node.life for line in self._lines(here)),
            "the others work",
        )

    async def _all_work(self) -> None:
        """Wait until each node begins something, or start it again when it has lost its lease."""
        await asyncio.gather(*map(self._recover, self.nodes))

    async def _recover(self, node: Member) -> None:
        """Wait until a node works again. One that was given up must know it; as its supervisor would, start it anew."""
        here, life = self._size(), node.life

        def works() -> bool:
            return any(line.kind == "begin" and line.life == life for line in self._lines(here))

        await self._until(lambda: self._is_lost(life) or works(), f"node {life} works again")
        if not self._is_lost(life):
            return
        told = EventFilter(node_id=life, event_type="lease_lost")
        await self._until(lambda: self.client.store.events.query(told, 1), f"node {life} knows that it is lost")
        self._strike(node, "ended")
        await self.start(node)

    def _strike(self, node: Member, kind: str = "killed") -> None:
        self._note(kind, node.life)
        node.kill()

    def _is_lost(self, life: str) -> bool:
        return all(node.node_id != life or node.lost for node in self.client.list_nodes())

    def _counts(self) -> dict[str, Any]:
        return dict(self.client.store.tasks.counts())

    def _all_heard(self) -> bool:
        lines = self._lines(0)
        heard = {(line.message, line.to) for line in lines if line.kind == "heard"}
        return all((line.message, line.to) in heard for line in lines if line.kind == "said" and line.durable)

    async def _until(self, fact: Callable[[], object], what: str) -> None:
        assert await self._within(fact), f"in {GUARD_SECONDS:g} s it did not become true that {what}"

    async def _within(self, fact: Callable[[], object]) -> bool:
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
    skews: tuple[float, ...] = (0.0, 0.0, 0.0),
    proxied: bool = False,
) -> AsyncIterator[Cluster]:
    """Run nodes under load on *servers*, one for each of *skews* (seconds); with *proxied* they can be cut off."""
    print(f"seed {seed}")
    cluster = Cluster(servers, folder, random.Random(seed), lease)
    try:
        await cluster.open({f"n{number}": skew for number, skew in enumerate(skews)}, proxied=proxied)
        yield cluster
    finally:
        await cluster.close()
