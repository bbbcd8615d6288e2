"""Nodes that talk over each bus: a question to another process, and a message to the subscribers on all nodes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import folder, keep_in_flight, run, spread
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.sides import Sides, until_alone

if TYPE_CHECKING:
    from shoal.bus.node import NodeBus

TEXT = "x" * 1024
TALK = {"count": 5000, "lanes": 10}
FAN = {"count": 2000, "nodes": 3, "subscribers": 30}


def talk(kind: str, count: int, lanes: int) -> dict[str, float]:
    """Return what a request to another node takes, one at a time and with *lanes* at once."""
    return run(_talk(kind, count, lanes))


async def _talk(kind: str, count: int, lanes: int) -> dict[str, float]:
    from shoal.testing.receivers import a_message, attached_everywhere

    with folder() as path, Sides(__name__) as sides:
        path.chmod(0o711)  # under root, PostgreSQL runs as another user
        async with served(kind, path) as url, node(url, path, "asking") as bus:
            sides.begin("answering", url=url, path=str(path))
            await attached_everywhere([bus], "echo")
            message, seconds = a_message(TEXT), []
            for number in range(count + count // 10):
                begun = time.perf_counter()
                await bus.request("echo", message, 10.0)
                if number >= count // 10:
                    seconds.append(time.perf_counter() - begun)
            many = await keep_in_flight(lambda: bus.request("echo", message, 10.0), 2 * count, lanes)
    return {**spread(seconds), "per_s": len(seconds) / sum(seconds), "ten_per_s": many}


def answering(url: str, path: str) -> None:
    """Answer with what is asked, until alone."""
    run(_answering(url, Path(path)))


async def _answering(url: str, path: Path) -> None:
    from shoal.testing.receivers import Replier

    async with node(url, path, "answering") as bus:
        bus.attach("echo", Replier(lambda asked: asked.data))
        await until_alone()


def fan(kind: str, count: int, nodes: int, subscribers: int) -> dict[str, float]:
    """Return how many mailboxes a second take a message that is published to subscribers on *nodes* other nodes."""
    return run(_fan(kind, count, nodes, subscribers))


async def _fan(kind: str, count: int, nodes: int, subscribers: int) -> dict[str, float]:
    from shoal.testing.receivers import a_message, attached_everywhere

    with folder() as path, Sides(__name__) as sides:
        path.chmod(0o711)  # under root, PostgreSQL runs as another user
        async with served(kind, path) as url, node(url, path, "publishing") as bus:
            for number in range(nodes):
                sides.begin("hearing", url=url, path=str(path), number=number, subscribers=subscribers)
            for number in range(nodes):
                await attached_everywhere([bus], f"last-{number}")
            message, taken = a_message(TEXT, topic="news"), 0

            async def publish() -> None:
                nonlocal taken
                got = await bus.publish("news", message)
                taken += got  # not in one line: the others add to it meanwhile

            await keep_in_flight(publish, count // 10, 20)
            taken = 0
            per_s = await keep_in_flight(publish, count, 20)
            assert taken == count * nodes * subscribers, taken
    return {"per_s": per_s, "deliveries_per_s": per_s * nodes * subscribers}


def hearing(url: str, path: str, number: int, subscribers: int) -> None:
    """Subscribe, until alone."""
    run(_hearing(url, Path(path), number, subscribers))


async def _hearing(url: str, path: Path, number: int, subscribers: int) -> None:
    from shoal.kernel.message import AgentMessage
    from shoal.testing.receivers import Inbox

    class Counter(Inbox):
        def offer(self, message: AgentMessage) -> None:
            return None

    async with node(url, path, f"hearing-{number}") as bus:
        for place in range(subscribers):
            bus.attach(f"listener-{number}-{place}", Counter())
            bus.subscribe(f"listener-{number}-{place}", "news")
        bus.attach(f"last-{number}", Counter())
        await until_alone()


@asynccontextmanager
async def node(url: str, path: Path, name: str) -> AsyncIterator[NodeBus]:
    """Give a started bus."""
    from shoal.bus import open_bus
    from shoal.bus.node import NodeBus
    from shoal.kernel.clock import RealClock

    bus = open_bus(url, clock=RealClock(), folder=path / "bus")
    assert isinstance(bus, NodeBus)
    await bus.start(name)
    try:
        yield bus
    finally:
        await bus.stop()


@asynccontextmanager
async def served(kind: str, path: Path) -> AsyncIterator[str]:
    """Give the URL of a bus, with its server."""
    from shoal.cluster import NatsServer, PostgresServer

    if kind == "local":
        yield "local://"
        return
    server = NatsServer(path / kind) if kind == "nats" else PostgresServer(path / kind)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


def _ours(function: str, arguments: dict[str, int]) -> Sequence[Entry]:
    return [
        Entry(f"shoal, {kind}", f"benchmarks.buses:{function}", {"kind": kind, **arguments})
        for kind in ("nats", "postgres", "local")
    ]


MEASUREMENTS = (
    Measurement(
        name="bus-talk",
        what="1 KiB to an address on another node and back, one at a time; ten at once",
        figures={
            "p50_ms": "p50 ms", "p99_ms": "p99 ms", "per_s": "requests/s", "ten_per_s": "requests/s, ten at once",
        },
        entries=(
            *_ours("talk", TALK),
            Entry("nats", "benchmarks.peers.nats_:talk", TALK, "nats-py, request"),
            Entry(
                "autogen-core gRPC", "benchmarks.peers.autogen_grpc_bus_:talk", {**TALK, "count": 1000},
                "one host, two workers",
            ),
            Entry("ray", "benchmarks.peers.ray_bus_:talk", {**TALK, "count": 2000}, "an async actor; node on loopback"),
        ),
        bounds=(
            Bound("p50_ms", "floor", most=1.5, against="nats", of="shoal, nats"),
            Bound("p50_ms", "floor", most=3, of="shoal, postgres"),
        ),
        quick={"count": 200},
        runs=3,
    ),
    Measurement(
        name="bus-fan",
        what="publish 1 KiB to 30 subscribers on each of three other nodes, until every mailbox has it; 20 at once",
        figures={"per_s": "messages/s", "deliveries_per_s": "deliveries/s"},
        entries=(
            *_ours("fan", FAN),
            Entry("nats", "benchmarks.peers.nats_fan_:fan", FAN, "nats-py, a subscription each; a process answers for all"),
            Entry(
                "autogen-core gRPC", "benchmarks.peers.autogen_grpc_bus_:fan", {**FAN, "count": 100},
                "a type each, one host; a worker answers for all of its own (Ray has no publish)",
            ),
        ),
        quick={"count": 100},
        runs=3,
    ),
)  # fmt: skip
