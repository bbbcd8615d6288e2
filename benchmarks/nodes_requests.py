"""A question of 1 KiB to an agent on another node and back: by the verbs of the runtime, over each bus on servers."""

from __future__ import annotations

import time

from benchmarks.common import keep_in_flight, run, spread
from benchmarks.engines import engines
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.nodes_tasks import runtime_on
from benchmarks.sides import Sides, until_alone

TEXT = "x" * 1024
TALK = {"count": 2000, "lanes": 10}


def requests(bus: str, count: int, lanes: int) -> dict[str, float]:
    """Return what a request to an agent of another node takes, one at a time and with *lanes* at once."""
    with engines() as urls, Sides(__name__) as sides:
        where = {"store": urls.store, "bus": urls.bus if bus == "nats" else None}
        sides.begin("answering", **where)
        return run(_requests(count=count, lanes=lanes, **where))


async def _requests(store: str, bus: str | None, count: int, lanes: int) -> dict[str, float]:
    async with runtime_on(store, bus) as here:
        seconds = []

        async def ask() -> None:
            begun = time.perf_counter()
            await here.request("echo", "ask", TEXT)
            seconds.append(time.perf_counter() - begun)

        for _ in range(count + count // 10):
            await ask()
        alone = seconds[count // 10 :]
        many = await keep_in_flight(ask, 2 * count, lanes)
        return {**spread(alone), "per_s": len(alone) / sum(alone), "ten_per_s": many}


def answering(store: str, bus: str | None) -> None:
    """Be the node with the agent that answers, until alone."""
    run(_answering(store, bus))


async def _answering(store: str, bus: str | None) -> None:
    from benchmarks.ours import Echo, begin

    async with runtime_on(store, bus) as here:
        await begin(here, "echo", Echo)
        await until_alone()


MEASUREMENTS = (
    Measurement(
        name="nodes-request",
        what="1 KiB to an agent on another node and back, from the runtime; one at a time; ten at once",
        figures={
            "p50_ms": "p50 ms", "p99_ms": "p99 ms", "per_s": "requests/s", "ten_per_s": "requests/s, ten at once",
        },
        entries=(
            *(
                Entry(f"shoal, {bus}", "benchmarks.nodes_requests:requests", {"bus": bus, **TALK})
                for bus in ("nats", "postgres")
            ),
            Entry("nats", "benchmarks.peers.nats_:talk", TALK, "nats-py, request: no agents, no mailboxes"),
            Entry(
                "autogen-core gRPC", "benchmarks.peers.autogen_grpc_bus_:talk", {"count": 1000, "lanes": 10},
                "one host, two workers",
            ),
            Entry("ray", "benchmarks.peers.ray_bus_:talk", TALK, "an async actor; node on loopback"),
        ),
        bounds=(
            Bound("p50_ms", "goal", most=1.5, against="nats", of="shoal, nats"),
            *(Bound("p50_ms", "floor", most=1, against=peer, of="shoal, nats") for peer in ("autogen-core gRPC", "ray")),
        ),
        quick={"count": 200},
        runs=2,
    ),
)  # fmt: skip
