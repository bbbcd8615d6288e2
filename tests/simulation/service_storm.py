"""What befalls a team of services in one simulation, and what must be left when it is over: nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

from shoal.errors import AgentNameTakenError, NotFound
from shoal.services import AgentInfo
from shoal.services.outsiders import Change
from tests.simulation.service_end import check_idle, probe
from tests.simulation.service_nodes import LEASE_SECONDS, SimulatedNode, die
from tests.simulation.service_world import LATEST_SECONDS, STRATEGIES, World

__all__ = ["Storm"]

STEPS = 40
AMPLE_SECONDS = 120.0
OUTSIDE_TTL = 3.0
WEIGHTS = {
    "ask": 30, "join": 3, "die": 5, "pause": 4, "resume": 5, "drain": 3, "stop": 1, "tune": 2, "look": 2, "cut": 2,
    "late": 2, "kill": 1.2, "silence": 0.8, "lead": 2, "lock": 4, "register": 2, "renew": 3,
}  # fmt: skip


class Storm:
    """Chooses what happens next, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.clock = world.clock
        self.under_way: set[asyncio.Task[Any]] = set()
        self.locks: dict[str, tuple[str, Any, int]] = {}  # by name: who holds it, until when, with which token
        self.outside: dict[str, list[Any]] = {}  # by name: uuid, token, until when it surely lives

    async def run(self) -> None:
        """Let a team live through it, and see that everything ends well."""
        world, chance = self.world, self.chance
        for _ in range(2 + (chance.random() < 0.5)):
            node = await world.join()
            for _ in range(chance.choice((1, 2))):
                await world.start_worker(node)
        await world.start(world.nodes[0], world.front, {})
        await world.start(world.nodes[1], world.proxy, {"capability": "work", "strategy": chance.choice(STRATEGIES)})
        watch = asyncio.get_running_loop().create_task(self._watch(), name="watch")
        for _ in range(STEPS):
            await self.clock.sleep(chance.choice((0.0, 0.01, 0.1, 0.5, 1.0)))
            what = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            work = getattr(self, f"_{what}")()
            if work is not None:
                self._spawn(work, what)
        await self._calm_down()
        watch.cancel()
        await asyncio.wait([watch])
        if not watch.cancelled():
            watch.result()
        await probe(world)
        check_idle(world)
        for node in self.world.living:
            await node.stop()

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    def _node(self) -> SimulatedNode:
        return self.chance.choice(self.world.living)

    def _instance(self, *states: str) -> tuple[SimulatedNode, Any] | None:
        found = [each for each in self.world.records() if each[1].state in states]
        return self.chance.choice(found) if found else None

    # -- what happens

    def _ask(self) -> None:
        self.world.ask(self._node())

    def _join(self) -> Coroutine[Any, Any, Any]:
        return self.world.start_worker(self._node())

    def _die(self) -> None:
        found = self._instance("running", "paused", "draining")
        if found is not None:
            node, record = found
            self.world.history.died(record.uuid, kept=record.state == "paused")
            self.world.happened["died"] += die(node, record.uuid)

    def _order(self, action: str, states: tuple[str, ...], data: Any = None) -> Coroutine[Any, Any, Any] | None:
        found = self._instance(*states)
        if found is None:
            return None
        record, node = found[1], self._node()
        if action == "pause":
            self.world.history.held.add(record.uuid)
        return self.world.tried(node, lambda: node.services.control(record, action, data), action)

    def _pause(self) -> Coroutine[Any, Any, Any] | None:
        return self._order("pause", ("running",))

    def _resume(self) -> Coroutine[Any, Any, Any] | None:
        return self._order("resume", ("paused",))

    def _drain(self) -> Coroutine[Any, Any, Any] | None:
        found = self._instance("running", "paused")
        if found is None or found[1].name != "worker":
            return None
        uuid = found[1].uuid
        self.world.history.drained.setdefault(uuid, self.clock.monotonic())
        return self._drained(found[0], uuid)

    async def _drained(self, node: SimulatedNode, uuid: str) -> None:
        done = await self.world.tried(
            node, lambda: node.services.control(uuid, "drain", {"grace": AMPLE_SECONDS}), "drain"
        )
        if done is None:
            self.world.history.drained.pop(uuid, None)
        else:
            self.world.history.refuses.setdefault(uuid, self.clock.monotonic())

    def _stop(self) -> Coroutine[Any, Any, Any] | None:
        found = self._instance("running", "paused")
        if found is None or found[1].name in ("front", "proxy"):
            return None
        self.world.history.interrupted.add(found[1].uuid)
        grace = self.chance.choice((0.0, 0.2, 1.0))
        instance, node = found[1].instance, self._node()
        return self.world.tried(node, lambda: node.services.stop(instance, grace), "stop")

    def _tune(self) -> Coroutine[Any, Any, Any] | None:
        slow = self.chance.choice((1, 1, 10))
        return self._order("update_config", ("running",), {"config": {"slow": slow}})

    def _look(self) -> Coroutine[Any, Any, Any] | None:
        return self._order(self.chance.choice(("status", "health", "dance")), ("running", "paused", "draining"))

    def _cut(self) -> None:
        self.world.history.cut()
        self._node().simulated_bus.cut()
        self.world.happened["cut"] += 1

    def _late(self) -> None:
        begun = self.clock.monotonic()
        self.world.late_until = until = begun + self.chance.uniform(0.5, 4.0)
        self.world.history.late.append((begun, until + LATEST_SECONDS))

    def _kill(self) -> Coroutine[Any, Any, Any] | None:
        if len(self.world.living) < 2:
            return None
        return self._replaced(self._node(), 0.0)

    def _silence(self) -> Coroutine[Any, Any, Any] | None:
        """Let a node's heartbeats not come through until its lease is over, or nearly so."""
        if len(self.world.living) < 2:
            return None
        return self._replaced(self._node(), LEASE_SECONDS * self.chance.choice((0.5, 1.5, 3.0)))

    async def _replaced(self, node: SimulatedNode, silent: float) -> None:
        world = self.world
        if not node.alive or node.silent:
            return
        node.silent = bool(silent)
        if silent:
            world.happened["silent"] += 1
            for agent_id in node.here.registrations:
                world.history.interrupted.add(agent_id)
            await self.clock.sleep(silent)
            node.silent = False
            if silent < LEASE_SECONDS / 2:
                return
        await world.kill(node)
        world.happened["killed"] += 1
        await self.clock.sleep(self.chance.choice((0.0, 1.0, LEASE_SECONDS * 2)))
        fresh = await world.join()
        await world.start_worker(fresh)
        await world.start(fresh, world.front, {})
        await world.start(fresh, world.proxy, {"capability": "work"})

    def _lead(self) -> Coroutine[Any, Any, Any]:
        return self.world.start(self._node(), self.world.boss, {})

    # -- leases on names, and those of agents from outside

    async def _lock(self) -> None:
        node, name = self._node(), self.chance.choice(("lock:a", "lock:b"))
        owner, ttl = f"owner {self.clock.new_id()}", self.chance.choice((0.5, 2.0))
        granted = await self.world.tried(
            node, lambda: node.here.env.leasing.acquire(name, owner, ttl, self.chance.choice((0.0, 1.0, 5.0))), "lock"
        )
        if granted is None or granted.lease is None:
            return
        now, other = self.clock.now(), self.locks.get(name)
        if other is not None and other[1] > now:
            self.world.history.fault(f"{name} was given to {owner}, and {other[0]} has it until {other[1]}")
        if other is not None and granted.lease.token <= other[2]:
            self.world.history.fault(f"{name} has token {granted.lease.token} after {other[2]}")
        self.locks[name] = owner, granted.lease.until, granted.lease.token
        await self.clock.sleep(self.chance.uniform(0.0, 2 * ttl))
        if self.chance.random() < 0.7 and node.alive:  # else it has died, and the lease ends by itself
            if self.locks[name][0] == owner:
                self.locks[name] = owner, self.clock.now(), granted.lease.token
            await self.world.tried(node, lambda: node.here.env.leasing.release(name, owner), "unlock")

    async def _register(self) -> None:
        node, name = self._node(), self.chance.choice(("captain", "mate"))
        info = AgentInfo(name, ("rule",), exclusive=True)
        try:
            with self.world.on(node):
                record, token = await node.services.directory.outside.register(info, None, OUTSIDE_TTL)
        except AgentNameTakenError:
            self.world.happened["name taken"] += 1
            return
        except Exception as error:
            if node.alive:
                self.world.history.fault(f"{name} could not be registered: {error!r}")
            return
        now, other = self.clock.now(), self.outside.get(name)
        if other is not None and other[2] > now:
            self.world.history.fault(f"{name} was given to {record.uuid}, and {other[0]} has it until {other[2]}")
        self.outside[name] = [record.uuid, token, now + timedelta(seconds=OUTSIDE_TTL)]
        self.world.happened["name given"] += 1

    async def _renew(self) -> None:
        name, node = self.chance.choice(("captain", "mate")), self._node()
        if name not in self.outside:
            return
        mine = list(self.outside[name])
        begun = self.clock.now()
        try:
            with self.world.on(node):
                await node.services.directory.outside.renew(mine[0], mine[1], Change(load=1.0))
        except NotFound:
            if mine[2] > self.clock.now() and node.alive:
                self.world.history.fault(f"{name} lost its lease at {begun}, which lasts until {mine[2]}")
            return
        except Exception as error:
            if node.alive and not node.silent:
                self.world.history.fault(f"{name} could not be renewed: {error!r}")
            return
        if self.outside[name][0] != mine[0]:
            self.world.history.fault(f"{name} was renewed by {mine[0]}, and belongs to {self.outside[name][0]}")
        self.outside[name][2] = begun + timedelta(seconds=OUTSIDE_TTL)

    async def _watch(self) -> None:
        """See that no agent and no exclusive name has two nodes that believe to have it."""
        while True:
            owners: Counter[str] = Counter()
            for node in self.world.nodes:
                if node.alive:
                    for registration in list(node.here.registrations.values()):
                        owners[registration.name] += node.owns(registration.agent_id)
            for name, count in owners.items():
                if count > 1:
                    self.world.history.fault(f"{name} has {count} owners")
            await self.clock.sleep(0.1)

    # -- the end

    async def _calm_down(self) -> None:
        """Let everything come to its end: what is under way, what is paused, what waits for an answer."""
        world = self.world
        world.late_until = 0.0
        async with self.clock.timeout(AMPLE_SECONDS):
            while self.under_way:
                await asyncio.wait(list(self.under_way))
        for _ in range(3):
            for node, record in world.records():
                if record.state == "paused":
                    resume = partial(node.services.control, record, "resume")
                    await world.tried(node, resume, "resume at the end")
            await self.clock.sleep(LEASE_SECONDS)
        async with self.clock.timeout(AMPLE_SECONDS):
            while world.asking:
                await asyncio.wait(list(world.asking))
            while any(record.state == "draining" for _, record in world.records()):
                await self.clock.sleep(0.5)
