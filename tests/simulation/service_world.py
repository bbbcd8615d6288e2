"""A team of services on several nodes, those who ask them, and what befalls them. All chance follows from one seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shoal.errors import RequestError, ShoalError
from shoal.services import AgentInfo, Capability, LoadBalancerAgent, ServiceAgent
from shoal.services.info import AgentRecord
from shoal.testing.clock import VirtualClock
from tests.simulation.service_history import Ask, Begin, History
from tests.simulation.service_nodes import SimulatedNode

__all__ = ["LATEST_SECONDS", "STRATEGIES", "World"]

LATEST_SECONDS = 3.0
STRATEGIES = ("round_robin", "least_loaded", "power_of_two", "consistent_hash", "random")


class World:
    """What all of them share, and what outlives each of them."""

    def __init__(self, seed: int, folder: Path, clock: VirtualClock, *, ordered: bool) -> None:
        self.chance = random.Random(f"services {seed}")
        self.folder = folder
        self.clock = clock
        self.history = History(clock, ordered=ordered)
        self.nodes: list[SimulatedNode] = []
        self.lives = 0  # of agents
        self.handled: Counter[int] = Counter()  # by life
        self.objects: list[tuple[ServiceAgent, float, int]] = []  # with when they were made, and the life of a worker
        self.happened: Counter[str] = Counter()
        self.asking: dict[asyncio.Task[None], tuple[SimulatedNode, Ask]] = {}
        self.bound: dict[asyncio.Task[Any], SimulatedNode] = {}
        self.late_until = 0.0
        self.worker, self.front, self.proxy, self.boss = worker(self), front(self), proxy(self), boss()

    # -- nodes

    @property
    def living(self) -> list[SimulatedNode]:
        """The nodes that work."""
        return [node for node in self.nodes if node.alive and not node.silent]

    async def join(self) -> SimulatedNode:
        """Let a node join."""
        node = SimulatedNode(self.folder, self.clock, f"node {len(self.nodes)}")
        self.nodes.append(node)
        await node.start()
        node.alive = True
        self.history.runtimes.add(node.here.env.runtime_id)
        node.simulated_bus.lateness = self.lateness
        _ = node.services
        return node

    def lateness(self) -> float:
        """Return how late an answer comes."""
        if self.clock.monotonic() >= self.late_until or self.chance.random() < 0.5:
            return 0.0
        return self.chance.uniform(0.0, LATEST_SECONDS)

    async def kill(self, node: SimulatedNode) -> None:
        """End a node at once, with all that is on it."""
        for agent_id in list(node.here.registrations):
            self.history.died(agent_id, kept=False)
        self.history.cut(node.here.env.runtime_id, *node.here.registrations)
        mine = [task for task, (of, _) in self.asking.items() if of is node]
        for task in mine:
            self.asking[task][1].alone = True
            task.cancel()
        await node.kill()
        for task in [task for task, of in self.bound.items() if of is node]:
            task.cancel()
        if mine:
            await asyncio.wait(mine)

    async def start(self, node: SimulatedNode, kind: type[ServiceAgent], config: dict[str, Any]) -> None:
        """Start a service; where its node ends meanwhile, it is not there."""
        await self.tried(node, lambda: node.services.start(kind, config), kind.__name__)

    async def start_worker(self, node: SimulatedNode) -> None:
        """Start a worker, some of them slow."""
        slow = self.chance.random() < 0.15
        await self.start(node, self.worker, {"slow": 8 if slow else 1, "wide": self.chance.random() < 0.4})

    @contextmanager
    def on(self, node: SimulatedNode) -> Iterator[None]:
        """End with *node*, when it is killed."""
        task = asyncio.current_task()
        assert task is not None
        self.bound[task] = node
        try:
            yield
        finally:
            del self.bound[task]

    async def tried(self, node: SimulatedNode, work: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Try on *node* what may fail while others die."""
        try:
            with self.on(node):
                value = await work()
        except (ShoalError, RuntimeError) as error:
            self.happened[f"{what} failed: {getattr(error, 'code', type(error).__name__)}"] += 1
            return None
        self.happened[what] += 1
        return value

    def records(self) -> list[tuple[SimulatedNode, AgentRecord]]:
        """Return all instances with the nodes that have them."""
        found = []
        for node in self.living:
            for registration in node.here.registrations.values():
                known = node.services.directory.get(registration.agent_id)
                if known is not None:
                    found.append((node, known.record(node.here, self.clock.monotonic())))
        return found

    # -- those who ask

    def ask(self, node: SimulatedNode) -> None:
        """Let somebody on *node* ask, perhaps several times at once."""
        chance = self.chance
        direct = [record.instance for _, record in self.records() if record.name == "worker"]
        kind = chance.random()
        target = "worker" if kind < 0.3 else "work" if kind < 0.5 else "front" if kind < 0.65 else "proxy"
        if direct and kind > 0.7:
            target = chance.choice(direct)
        for _ in range(chance.choice((1, 1, 2, 6))):
            timeout = chance.choice((0.5, 3.0, 10.0))
            ask = Ask(f"r{len(self.history.asks)}", self.clock.monotonic(), timeout, target, chance.random() < 0.5)
            self.history.asks[ask.ask_id] = ask
            fails = chance.choices((None, "refuse", "raise", "again"), (20, 1, 1, 1))[0]
            task = asyncio.get_running_loop().create_task(self._asked(node, ask, fails), name=ask.ask_id)
            self.asking[task] = node, ask
            task.add_done_callback(lambda done: self.asking.pop(done, None))
            if chance.random() < 0.04:
                self.clock.call_later(chance.uniform(0.0, 1.0), task.cancel)

    async def probe(self, node: SimulatedNode, uuid: str) -> None:
        """Ask an instance that has nothing to do any more."""
        ask = Ask(f"probe {len(self.history.asks)}", self.clock.monotonic(), 5.0, uuid, True)
        self.history.asks[ask.ask_id] = ask
        await self._asked(node, ask, None)
        if ask.ends != ["answer"]:
            self.history.fault(f"{uuid} does not answer {node.name} in the end: {ask.error!r}")

    async def _asked(self, node: SimulatedNode, ask: Ask, fails: str | None) -> None:
        payload = {"id": ask.ask_id, "idempotent": ask.idempotent, "fails": fails}
        payload["seconds"] = self.chance.choice((0.0, 0.01, 0.05, 0.2))
        ask.again = fails == "again"
        target: Any = Capability("work") if ask.target == "work" else ask.target
        try:
            ask.answer = await node.services.request(
                target, payload, timeout=ask.timeout, idempotent=ask.idempotent, key=ask.ask_id[-1]
            )
            ask.ends.append("answer")
        except RequestError as error:
            ask.error = error
            ask.ends.append(error.code)
        except ShoalError as error:
            ask.ends.append(type(error).__name__)
            if not (node.silent or node.here.env.lost or not node.alive):
                self.history.fault(f"{ask.ask_id} ended as {error!r}")
        except asyncio.CancelledError:
            ask.ends.append("cancelled")
        finally:
            ask.ended_at = self.clock.monotonic()
            self.happened[ask.ends[-1] if ask.ends else "never"] += 1
            if ask.ends == ["DRAINING"]:
                self._check_refused(node, ask)

    def _check_refused(self, node: SimulatedNode, ask: Ask) -> None:
        """A drain is no reason to refuse a request that another instance could have answered."""
        if ask.target not in ("worker", "work") or ask.ended_at - ask.at > ask.timeout / 2:
            return
        tried = {sending.uuid for sending in self.history.sendings if sending.ask_id == ask.ask_id}
        others = [each for each in node.services.directory.discover(["work"]) if each.uuid not in tried]
        stats = node.services._balancer.stats
        others = [each for each in others if each.instance not in stats or stats[each.instance].breaker == "closed"]
        if len(tried) < 3 and others:
            self.history.fault(f"{ask.ask_id} ended as DRAINING, and {others[0].instance} was there")


def worker(world: World) -> type[ServiceAgent]:
    class Worker(ServiceAgent):
        mailbox = 20

        def __init__(self, config: dict[str, Any] | None = None) -> None:
            super().__init__(config)
            self.concurrency = 3 if self.config.get("wide") else 1
            world.lives += 1
            self.life = world.lives
            world.objects.append((self, world.clock.monotonic(), self.life))

        def info(self) -> AgentInfo:
            return AgentInfo("worker", ("work",), type="server", control_from=("front*",))  # type: ignore[arg-type]

        def on_pause(self) -> dict[str, Any]:
            return {"life": self.life}

        def on_resume(self, state: dict[str, Any]) -> None:
            world.happened["resumed with its state"] += "life" in state

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            begin = Begin(world.clock.monotonic(), self.life, self.concurrency, self.header, payload)
            world.history.begins.append(begin)
            try:
                await asyncio.sleep(payload["seconds"] * self.config.get("slow", 1))
                if payload["fails"]:
                    fail(payload["fails"])
                begin.ended = "answered"
            except Exception:
                begin.ended = "failed"
                raise
            finally:
                world.handled[self.life] += begin.ended is not None
            return {"id": payload["id"], "by": self.context.agent_id}

    return Worker


def fail(how: str) -> None:
    if how == "refuse":
        raise RequestError("NO_MONEY", "not today")
    if how == "again":
        raise RequestError("BUSY", "ask somebody else", retryable=True)
    raise KeyError("lost")


def front(world: World) -> type[ServiceAgent]:
    class Front(ServiceAgent):
        concurrency = 8

        def __init__(self, config: dict[str, Any] | None = None) -> None:
            super().__init__(config)
            world.objects.append((self, world.clock.monotonic(), 0))

        def info(self) -> AgentInfo:
            return AgentInfo("front", ("front",))

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            timeout = world.chance.choice((0.3, 5.0))
            return await self.send_request(
                Capability("work"), payload, timeout=timeout, idempotent=payload["idempotent"]
            )

    return Front


def proxy(world: World) -> type[ServiceAgent]:
    class Proxy(LoadBalancerAgent):
        def __init__(self, config: dict[str, Any] | None = None) -> None:
            super().__init__(config)
            world.objects.append((self, world.clock.monotonic(), 0))

        def info(self) -> AgentInfo:
            return AgentInfo("proxy", ("load_balancer",))

    return Proxy


def boss() -> type[ServiceAgent]:
    class Boss(ServiceAgent):
        def info(self) -> AgentInfo:
            return AgentInfo("boss", ("lead",), exclusive=True)

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return {"id": payload["id"]}

    return Boss
