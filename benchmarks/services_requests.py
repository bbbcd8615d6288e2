"""A request of 1 KiB through directory, balancer and breaker: in one process, and between processes of one machine."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.common import folder, keep_in_flight, run, spread
from benchmarks.measurement import Bound, Entry, Measurement

CALLERS = 16
INSTANCES = 3
TEXT = "x" * 1024
SCHEMA = {
    "type": "object",
    "required": ["n", "text"],
    "properties": {"n": {"type": "integer", "minimum": 0}, "text": {"type": "string", "maxLength": 2048}},
}
FIGURES = {"per_s": f"requests/s of {CALLERS} callers", "p50_ms": "alone p50 ms", "p99_ms": "alone p99 ms"}
INSIDE = {"count": 10_000, "alone": 3_000}
BETWEEN = {"count": 8_000, "alone": 2_000}


async def measured(ask: Callable[[], Awaitable[object]], count: int, alone: int) -> dict[str, float]:
    """Return the rate of CALLERS at once, and what one alone waits."""

    async def once() -> None:
        await ask()

    await keep_in_flight(once, count // 10, CALLERS)
    seconds = []
    for _ in range(alone):
        begun = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - begun)
    per_s = await keep_in_flight(once, count, CALLERS)
    return {"per_s": per_s, **spread(seconds)}


def requests(isolation: str, count: int, alone: int, schema: bool = False, agent: bool = False) -> dict[str, float]:
    """Ask INSTANCES instances at *isolation* by their capability: from outside, or as an *agent* at the same level."""
    return run(_requests(isolation, count, alone, schema, agent))


async def _requests(isolation: Any, count: int, alone: int, schema: bool, agent: bool) -> dict[str, float]:
    from benchmarks.ours import runtime
    from shoal.services import Capability, ServiceAgent

    class Worker(ServiceAgent):
        concurrency = CALLERS

        def info(self) -> dict[str, Any]:
            given = {"name": "worker", "capabilities": ["work"], "type": "server"}
            return {**given, "request_schema": SCHEMA} if schema else given

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return payload

    class Asker(ServiceAgent):
        def info(self) -> dict[str, Any]:
            return {"name": "asker", "capabilities": ["ask"]}

        async def process_request(self, payload: dict[str, Any]) -> dict[str, float]:
            asked = {"n": 1, "text": TEXT}
            return await measured(lambda: self.send_request(Capability("work"), asked), **payload)

    with folder() as path:
        async with runtime(path) as here:
            services = here.services
            for _ in range(INSTANCES):
                await services.start(Worker, isolation=isolation)
            if agent:
                await services.start(Asker, isolation=isolation)
                return await services.request("asker", {"count": count, "alone": alone}, timeout=120)
            payload = {"n": 1, "text": TEXT}
            return await measured(lambda: services.request(Capability("work"), payload), count, alone)


def nodes(count: int, alone: int, servers: bool = False) -> dict[str, float]:
    """Ask INSTANCES instances, each inline on a node of its own, from one more node.

    Over the sockets of the local bus, on one file; with *servers* over NATS, on one PostgreSQL.
    """
    from benchmarks.engines import engines
    from benchmarks.sides import Sides

    with ExitStack() as ends:
        if servers:
            urls = ends.enter_context(engines())
            where = {"store": urls.store, "bus": urls.bus}
        else:
            where = {"store": f"sqlite:///{ends.enter_context(folder())}/shoal.db", "bus": "local://"}
        sides = ends.enter_context(Sides("benchmarks.services_requests"))
        for _ in range(INSTANCES):
            sides.begin("node", **where)
        return run(_nodes(count, alone, **where))


async def _nodes(count: int, alone: int, store: str, bus: str) -> dict[str, float]:
    import asyncio

    from benchmarks.nodes_tasks import runtime_on
    from shoal.services import Capability

    async with runtime_on(store, bus) as here:
        services = here.services
        while len(await services.discover("work")) < INSTANCES:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)
        payload = {"n": 1, "text": TEXT}
        return await measured(lambda: services.request(Capability("work"), payload), count, alone)


def node(store: str, bus: str) -> None:
    """Be a node with one instance, until killed."""
    run(_node(store, bus))


async def _node(store: str, bus: str) -> None:
    from benchmarks.nodes_tasks import runtime_on
    from benchmarks.sides import until_alone
    from shoal.services import ServiceAgent

    class Worker(ServiceAgent):
        concurrency = CALLERS

        def info(self) -> dict[str, Any]:
            return {"name": "worker", "capabilities": ["work"], "type": "server"}

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return payload

    async with runtime_on(store, bus) as here:
        await here.services.start(Worker)
        await until_alone()


def _ours(who: str, note: str = "", **arguments: object) -> Entry:
    return Entry(who, "benchmarks.services_requests:requests", arguments, note)


def _peer(who: str, function: str, note: str, **arguments: object) -> Entry:
    return Entry(who, f"benchmarks.peers.{function}", arguments, note)


_INLINE: dict[str, Any] = {"isolation": "inline", **INSIDE}
_CHILDREN: dict[str, Any] = {"isolation": "process", **BETWEEN}

MEASUREMENTS = (
    Measurement(
        name="services_inside",
        what="service: a request of 1 KiB by capability to 3 instances in one process",
        figures=FIGURES,
        entries=(
            _ours("shoal", **_INLINE),
            _ours("shoal, schema", "JSON Schema checked", **_INLINE, schema=True),
            _ours("shoal, an agent asks", **_INLINE, agent=True),
            _peer(
                "autogen-core",
                "autogen_services_:inside",
                "round robin over 3 types; SingleThreadedAgentRuntime",
                count=5_000,
                alone=2_000,
            ),
            _peer("pykka", "pykka_:inside", "round robin; 16 threads ask", count=8_000, alone=3_000),
        ),
        bounds=(
            Bound("per_s", "goal", least=10_000),
            Bound("p50_ms", "goal", most=0.12),
            Bound("p99_ms", "goal", most=0.5),
            Bound("per_s", "goal", least=6_000, of="shoal, schema"),
            Bound("per_s", "floor", least=1, against="autogen-core"),
            Bound("p50_ms", "floor", most=1, against="autogen-core"),
            Bound("per_s", "goal", least=1, against="pykka"),
            Bound("p50_ms", "goal", most=1, against="pykka"),
        ),
        quick={"count": 200, "alone": 100},
        runs=3,
    ),
    Measurement(
        name="services_between",
        what="the same between processes of one machine, 3 instances",
        figures=FIGURES,
        entries=(
            _ours("shoal", "asked from the process of the runtime", **_CHILDREN),
            _ours(
                "shoal, an agent asks", "from a process of its own, by way of the runtime's", **_CHILDREN, agent=True
            ),
            Entry(
                "shoal, nodes", "benchmarks.services_requests:nodes", BETWEEN, "each a runtime; one store, local bus"
            ),
            Entry(
                "shoal, nodes on servers",
                "benchmarks.services_requests:nodes",
                {**BETWEEN, "servers": True},
                "each a runtime; PostgreSQL and NATS",
            ),
            _peer("ray", "ray_services_:between", "actors, round robin; node on loopback", count=3_000, alone=1_000),
            _peer(
                "autogen-core gRPC",
                "autogen_grpc_services_:between",
                "one host, one worker per type, round robin",
                count=3_000,
                alone=1_000,
            ),
            _peer("nats", "nats_services_:between", "nats-py, request with a queue group", **BETWEEN),
            _peer(
                "boxlite",
                "boxlite_:between",
                "its router, local processes in place of VMs; a box asks another, which it can only do alone",
                count=100,
                alone=1_000,
            ),
        ),
        bounds=(
            Bound("per_s", "goal", least=5_000),
            Bound("p50_ms", "goal", most=0.3),
            Bound("p99_ms", "goal", most=1.5),
            *(Bound("per_s", "floor", least=1, against=peer) for peer in ("ray", "autogen-core gRPC", "nats")),
            *(
                Bound("p50_ms", "floor", most=1, against=peer)
                for peer in ("ray", "autogen-core gRPC", "nats", "boxlite")
            ),
        ),
        quick={"count": 200, "alone": 100},
        runs=2,
    ),
)
