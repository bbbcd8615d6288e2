"""Durable no-op tasks on one, two and four nodes, each a process, on one PostgreSQL; the peers' on the same server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.common import keep_in_flight, run, spread
from benchmarks.engines import engines
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.node_rounds import NODES, marked, on_each, until_marked
from benchmarks.sides import Sides, say, until_alone

if TYPE_CHECKING:
    from shoal.client import Client
    from shoal.runtime import AgentRuntime

IN_FLIGHT = 64


def tasks(bus: str, count: int) -> dict[str, float]:
    """Return tasks a second with one, two and four nodes; another process, which is no node, submits them all."""
    with engines() as urls, Sides(__name__) as sides:
        where = {"store": urls.store, "bus": urls.bus if bus == "nats" else None}
        return on_each(
            lambda number: sides.begin("node", number=number, **where), lambda: run(_submitted(count=count, **where))
        )


async def _submitted(store: str, bus: str | None, count: int) -> float:
    from shoal.client import Client

    async with Client(store=store, bus=bus, resource_limits=_no_limits()) as client:
        await keep_in_flight(lambda: _one(client), count // 10, IN_FLIGHT)
        return await keep_in_flight(lambda: _one(client), count, IN_FLIGHT)


async def _one(here: Client | AgentRuntime) -> None:
    task = await here.wait_for_task(await here.submit_task("noop", {"n": 1}))
    task.result()


def node(number: int, store: str, bus: str | None) -> None:
    """Be a node that carries out, until alone."""
    run(_node(number, store, bus))


async def _node(number: int, store: str, bus: str | None) -> None:
    from benchmarks.ours import Noop, begin

    async with runtime_on(store, bus) as here:
        await begin(here, f"worker-{number}", Noop, max_concurrent_tasks=IN_FLIGHT)
        await until_alone()


def own(bus: str, count: int) -> dict[str, float]:
    """Return tasks a second of all nodes together, when each submits *count* and any may carry them out."""
    with engines() as urls, Sides(__name__) as sides:
        where = {"store": urls.store, "bus": urls.bus if bus == "nats" else None, "go": str(urls.folder / "go")}

        def measure() -> float:
            marked(where["go"], nodes=len(sides.all))
            told = [side.told() for side in sides.all]
            begun, ended = min(each["begun"] for each in told), max(each["ended"] for each in told)
            return float(len(told) * count / (ended - begun))

        return on_each(lambda number: sides.begin("submitting", number=number, count=count, **where), measure)


def submitting(number: int, store: str, bus: str | None, count: int, go: str) -> None:
    """Be a node that submits each time when a mark in the file *go* says so, and tell from when until when."""
    run(_submitting(number, store, bus, count, go))


async def _submitting(number: int, store: str, bus: str | None, count: int, go: str) -> None:
    from benchmarks.ours import Noop, begin

    async with runtime_on(store, bus) as here:
        await begin(here, f"worker-{number}", Noop, max_concurrent_tasks=IN_FLIGHT)
        await keep_in_flight(lambda: _one(here), count // 10, IN_FLIGHT)
        say()
        for nodes in NODES.values():
            if nodes > number:
                await asyncio.to_thread(until_marked, go, lambda mark, nodes=nodes: mark["nodes"] == nodes)
                begun = time.monotonic()
                await keep_in_flight(lambda: _one(here), count, IN_FLIGHT)
                say(begun=begun, ended=time.monotonic())
        await until_alone()


def latency(bus: str, count: int) -> dict[str, float]:
    """Return percentiles in milliseconds from submit in one process to done, executed in another."""
    with engines() as urls, Sides(__name__) as sides:
        where = {"store": urls.store, "bus": urls.bus if bus == "nats" else None}
        sides.begin("node", number=0, **where)
        return run(_latency(count=count, **where))


async def _latency(store: str, bus: str | None, count: int) -> dict[str, float]:
    from shoal.client import Client

    async with Client(store=store, bus=bus, resource_limits=_no_limits()) as client:
        seconds = []
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            await _one(client)
            seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])


def runtime_on(store: str, bus: str | None, **config: object) -> AgentRuntime:
    """Return a runtime on these servers, without limits on agents and queue; without *bus* the store carries both."""
    from shoal.runtime import AgentRuntime

    return AgentRuntime(None, _no_limits(), store=store, bus=bus, config={"launch_memory_limit": None, **config})


def _no_limits():  # type: ignore[no-untyped-def]
    from benchmarks.ours import NO_LIMITS

    return NO_LIMITS


def _ours(function: str, count: int) -> tuple[Entry, ...]:
    return tuple(
        Entry(who, f"benchmarks.nodes_tasks:{function}", {"bus": bus, "count": count}, note)
        for who, bus, note in (
            ("shoal", "postgres", "bus in the same PostgreSQL"),
            ("shoal, nats", "nats", "bus through NATS"),
        )
    )


def _peer(who: str, function: str, note: str, count: int) -> Entry:
    return Entry(who, f"benchmarks.peers.{function}", {"count": count}, note)


_RATES = {"one_per_s": "tasks/s on 1 node", "two_per_s": "on 2", "four_per_s": "on 4"}

MEASUREMENTS = (
    Measurement(
        name="nodes-tasks",
        what=(
            "durable no-op tasks on 1, 2 and 4 nodes, each a process, one PostgreSQL on the same processors, each commit "
            "on disk; one more process submits, 64 in flight"
        ),
        figures=_RATES,
        entries=(
            *_ours("tasks", 4000),
            _peer(
                "procrastinate", "procrastinate_:tasks",
                "64 submit at a time; keeps no results; who waits must look: its table, each 10 ms", 1000,
            ),
            _peer("dbos", "dbos_nodes_:tasks", "queue asked each 50 ms; 64 threads submit; its table is looked at", 600),
            _peer(
                "celery", "celery_:tasks",
                "broker and results in PostgreSQL by SQLAlchemy (its Redis and RabbitMQ need servers of their own, which "
                "were not there), asked each 50 ms; pool solo; 16 threads submit; its table is looked at", 150,
            ),
            _peer("ray", "ray_nodes_:tasks", "**not durable**: remote tasks, 1, 2 and 4 worker processes", 3000),
        ),
        bounds=(
            Bound("one_per_s", "goal", least=5000),
            *(Bound("one_per_s", "floor", least=1, against=peer) for peer in ("procrastinate", "dbos", "celery")),
        ),
        quick={"count": 200},
        runs=2,
    ),
    Measurement(
        name="nodes-own",
        what="the same, each node submits as many itself, 64 in flight each",
        figures=_RATES,
        entries=_ours("own", 3000),
        bounds=(Bound("one_per_s", "goal", least=5000),),
        quick={"count": 200},
        runs=2,
    ),
    Measurement(
        name="nodes-latency",
        what="submit in one process to done, executed in another, one at a time, each commit on disk",
        figures={"p50_ms": "p50 ms", "p99_ms": "p99 ms"},
        entries=(
            *_ours("latency", 500),
            _peer("procrastinate", "procrastinate_:latency", "its end is looked for each 1 ms", 200),
            _peer("dbos", "dbos_nodes_:latency", "queue asked each 10 ms, result each 1 ms", 100),
            _peer("celery", "celery_:latency", "broker asked each 5 ms, result each 1 ms", 100),
            _peer("ray", "ray_nodes_:latency", "**not durable**", 500),
        ),
        bounds=(
            Bound("p50_ms", "goal", most=3),
            Bound("p50_ms", "goal", most=3, of="shoal, nats"),
            *(Bound("p50_ms", "goal", most=1, against=peer) for peer in ("procrastinate", "dbos", "celery")),
        ),
        quick={"count": 30},
        runs=2,
    ),
)  # fmt: skip
