"""The directory: looked up, changed, renewed; by calls in the process, seen from another node, and over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

from benchmarks.common import folder, keep_in_flight, percentile, resident_kb, run
from benchmarks.measurement import Bound, Entry, Measurement

IDLE_SECONDS = 3.0
IN_FLIGHT = 64
LEASE_SECONDS = 10.0
HTTP_CALLERS = 4
WORDS = 10


def _idle(number: int = 0) -> Any:
    """Return a class of services, of whose instances every tenth has the same word."""
    from shoal.services import ServiceAgent

    class Idle(ServiceAgent):
        def info(self) -> dict[str, Any]:
            return {"name": "idle", "capabilities": ["idle", f"word-{self.config.get('number', number) % WORDS}"]}

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return payload

    return Idle


def idle(agents: int) -> dict[str, float]:
    """Start *agents* services inline: how long, what each takes, what all take of a core while nobody asks."""
    return run(_idle_ones(agents))


async def _idle_ones(agents: int) -> dict[str, float]:
    from benchmarks.ours import runtime

    with folder() as path:
        async with runtime(path) as here:
            services, service = here.services, _idle()
            await services.start(service)
            before = resident_kb()
            begun = time.perf_counter()
            await asyncio.gather(*(services.start(service, {"number": number}) for number in range(agents)))
            started = time.perf_counter() - begun
            each = (resident_kb() - before) / agents
            looked = []
            for number in range(2000):
                begun = time.perf_counter()
                found = await services.discover([f"word-{number % WORDS}"])
                looked.append(time.perf_counter() - begun)
                assert len(found) >= agents // WORDS
                if number % 100 == 99:  # what was found is kept for a while; others do something meanwhile
                    await asyncio.sleep(0.11)
            await asyncio.sleep(1)
            spent, begun = time.process_time(), time.perf_counter()
            await asyncio.sleep(IDLE_SECONDS)
            share = (time.process_time() - spent) / (time.perf_counter() - begun)
            return {
                "start_s": started, "each_kib": each, "discover_p95_ms": percentile(looked, 0.95) * 1e3,
                "lease_percent": share * 100,
            }  # fmt: skip


def seen(changes: int) -> dict[str, float]:
    """Start and stop a service *changes* times: how long until another node finds it, and finds it no more."""
    return run(_seen(changes))


async def _seen(changes: int) -> dict[str, float]:
    from benchmarks.ours import runtime

    seconds = []
    with folder() as path:
        async with runtime(path) as here, runtime(path) as there:
            await there.services.discover("idle")
            for _ in range(changes):
                begun = time.perf_counter()
                record = await here.services.start(_idle())
                seconds.append(await _until(there, 1, begun))
                begun = time.perf_counter()
                await here.services.stop(record.instance)
                seconds.append(await _until(there, 0, begun))
    return {"seen_p95_ms": percentile(seconds, 0.95) * 1e3, "seen_max_ms": max(seconds) * 1e3}


async def _until(there: Any, count: int, begun: float) -> float:
    while len(await there.services.discover("idle")) != count:  # noqa: ASYNC110 - what it sees is what is measured
        await asyncio.sleep(0.001)
    return time.perf_counter() - begun


def outside(agents: int) -> dict[str, float]:
    """Register *agents* from outside, and renew each four times a lease: how many a second, and how much of a core."""
    return run(_outside(agents))


async def _outside(agents: int) -> dict[str, float]:
    from benchmarks.ours import runtime
    from shoal.services import AgentInfo
    from shoal.services.leases import RENEWALS_A_LEASE
    from shoal.services.outsiders import Change

    with folder() as path:
        async with runtime(path) as here:
            directory = here.services.directory.outside
            owned: list[tuple[str, str]] = []

            async def register() -> None:
                info = AgentInfo("agent", ("work", f"word-{len(owned) % WORDS}"))
                record, token = await directory.register(info, None, 60.0)
                owned.append((record.uuid, token))

            per_s = await keep_in_flight(register, agents, IN_FLIGHT)
            waiting = iter(owned)

            async def renew() -> None:
                uuid, token = next(waiting)
                await directory.renew(uuid, token, Change())

            spent = time.process_time()
            renewed_per_s = await keep_in_flight(renew, agents, IN_FLIGHT)
            each = (time.process_time() - spent) / agents
            return {
                "register_per_s": per_s,
                "renew_per_s": renewed_per_s,
                "renew_percent": each * agents * RENEWALS_A_LEASE / LEASE_SECONDS * 100,
            }


def http(agents: int, count: int) -> dict[str, float]:
    """Serve a registry; another process asks it over HTTP_CALLERS connections that stay."""
    return run(_http(agents, count))


async def _http(agents: int, count: int) -> dict[str, float]:
    from benchmarks.ours import runtime
    from benchmarks.sides import Side

    with folder() as path:
        async with runtime(path) as here:
            service = _idle()
            await asyncio.gather(*(here.services.start(service, {"number": number}) for number in range(agents)))
            serving = await here.services.serve_http("127.0.0.1", 0)
            asking = Side("benchmarks.services_directory", "asking", port=serving.port, count=count)
            try:
                return await asyncio.to_thread(asking.told)
            finally:
                asking.end()


def asking(port: int, count: int) -> None:
    """Ask the registry *count* times, and say what it took."""
    from benchmarks.sides import say

    say(**run(_asking(port, count)))


async def _asking(port: int, count: int) -> dict[str, float]:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(HTTP_CALLERS)]
    question = f"GET /agents/discover?capabilities=word-1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    seconds: list[float] = []

    async def ask() -> None:
        reader, writer = connections.pop()
        begun = time.perf_counter()
        writer.write(question)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        seconds.append(time.perf_counter() - begun)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.partition(b"\r\n")[0].decode())
        connections.append((reader, writer))

    await keep_in_flight(ask, 100, HTTP_CALLERS)
    seconds.clear()
    per_s = await keep_in_flight(ask, count, HTTP_CALLERS)
    return {"per_s": per_s, "p50_ms": percentile(seconds, 0.5) * 1e3, "p95_ms": percentile(seconds, 0.95) * 1e3}


def resumed(count: int) -> dict[str, float]:
    """Send *count* requests to a paused service; how fast, and in which order, they are handled after its resume."""
    return run(_resumed(count))


async def _resumed(count: int) -> dict[str, float]:
    from benchmarks.ours import runtime
    from shoal.services import ServiceAgent

    order: list[int] = []

    class Counter(ServiceAgent):
        mailbox = count

        def info(self) -> dict[str, Any]:
            return {"name": "counter", "capabilities": ["count"], "type": "server"}

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            order.append(payload["n"])
            return payload

    with folder() as path:
        async with runtime(Path(path)) as here:
            services = here.services
            record = await services.start(Counter)
            await services.control(record, "pause")
            asked = []
            for number in range(count):
                asked.append(asyncio.ensure_future(services.request(record, {"n": number}, timeout=120)))
                await asyncio.sleep(0)
            status: dict[str, Any] = {}
            while status.get("queued") != count:
                await asyncio.sleep(0.02)
                status = await services.control(record, "status")
            begun = time.perf_counter()
            await services.control(record, "resume")
            await asyncio.gather(*asked)
            seconds = time.perf_counter() - begun
    inversions = sum(later < earlier for earlier, later in itertools.pairwise(order))
    return {"per_s": count / seconds, "out_of_order": float(inversions)}


def streamed(items: int) -> dict[str, float]:
    """Let a service take *items* items in chunks, and at once: the peak of one over that of the other."""
    import tracemalloc

    from shoal.services import MemoryAwareAgent

    class Copier(MemoryAwareAgent):
        def process_small_data(self, data: Any) -> dict[str, Any]:
            return {"sum": sum(len(each) for each in [str(item) * 500 for item in data])}

        def process_chunk(self, chunk: list[Any], state: Any) -> Any:
            return (state or 0) + self.process_small_data(chunk)["sum"]

        def finish(self, state: Any) -> dict[str, Any]:
            return {"sum": state}

    data, peaks = list(range(100_000, 100_000 + items)), []
    for agent in (Copier(), Copier({"stream_threshold": items + 1})):
        tracemalloc.start()
        agent.process_request({"data": data})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return {"share": peaks[0] / peaks[1], "streamed_mib": peaks[0] / 2**20}


def _entry(function: str, note: str = "", **arguments: object) -> tuple[Entry, ...]:
    return (Entry("shoal", f"benchmarks.services_directory:{function}", arguments, note),)


MEASUREMENTS = (
    Measurement(
        name="services_idle",
        what="service: 1,000 started inline; one of them idle; found by a word of 100; all idle",
        figures={
            "start_s": "s to start", "each_kib": "KiB each", "discover_p95_ms": "p95 ms discover",
            "lease_percent": "% of a core, all idle",
        },
        entries=_entry("idle", "their leases are their node's", agents=1000),
        bounds=(
            Bound("start_s", "goal", most=2),
            Bound("each_kib", "goal", most=20),
            Bound("discover_p95_ms", "goal", most=0.2),
            Bound("lease_percent", "goal", most=5),
        ),
        quick={"agents": 100},
        runs=3,
    ),
    Measurement(
        name="services_seen",
        what="service: started, stopped: until another node finds it, finds it no more, the change itself included",
        figures={"seen_p95_ms": "p95 ms", "seen_max_ms": "longest ms"},
        entries=_entry("seen", changes=50),
        bounds=(Bound("seen_p95_ms", "goal", most=100), Bound("seen_max_ms", "goal", most=1000)),
        quick={"changes": 3},
        runs=2,
    ),
    Measurement(
        name="services_register",
        what="service: 1,000 registered from outside; renewed, four times in a lease of 10 s",
        figures={
            "register_per_s": "registered/s", "renew_per_s": "renewals/s", "renew_percent": "% of a core for 1,000",
        },
        entries=_entry("outside", "each on disk", agents=1000),
        bounds=(Bound("register_per_s", "goal", least=1000), Bound("renew_percent", "goal", most=5)),
        quick={"agents": 100},
        runs=3,
    ),
    Measurement(
        name="services_http",
        what="service: discover over HTTP, 10 of 100 agents, 4 connections that stay",
        figures={"per_s": "requests/s", "p50_ms": "p50 ms", "p95_ms": "p95 ms"},
        entries=_entry("http", agents=100, count=2000),
        bounds=(Bound("per_s", "goal", least=800), Bound("p95_ms", "goal", most=10)),
        quick={"agents": 10, "count": 200},
        runs=3,
    ),
    Measurement(
        name="services_resumed",
        what="service: 1,000 requests kept in a pause, handled after the resume",
        figures={"per_s": "requests/s", "out_of_order": "out of order"},
        entries=_entry("resumed", count=1000),
        bounds=(Bound("per_s", "goal", least=3000), Bound("out_of_order", "floor", most=0)),
        quick={"count": 100},
        runs=3,
    ),
    Measurement(
        name="services_memory",
        what="service: 10,001 items in chunks of 1,000, over all at once",
        figures={"share": "of the peak", "streamed_mib": "MiB"},
        entries=_entry("streamed", items=10_001),
        bounds=(Bound("share", "goal", most=0.2),),
        runs=1,
    ),
)  # fmt: skip
