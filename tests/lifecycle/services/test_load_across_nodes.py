"""The load of services of other nodes: known within a second, and without a write."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from shoal import EventFilter
from shoal.runtime import AgentRuntime
from shoal.services import Capability, LoadBalancer
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Echo, Worker


def written(runtime: AgentRuntime) -> Counter[str]:
    """Count the events, but for what a busy machine causes."""
    events = runtime.store.events.scan(EventFilter())
    return Counter(event.event_type for event in events if event.event_type != "loop_blocked")


def test_other_nodes_know_a_load_within_a_second(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as one, running(store_url, limits=UNLIMITED) as other:
            echo = await one.services.start(Echo)

            def load() -> float:
                records = other.services.records()
                return records[0].load if records else -1.0

            await until(lambda: load() == 0.0)
            await until(lambda: one.query_events("service_joined"))
            before = written(one)
            busy = [asyncio.ensure_future(one.services.request(echo, {"pause": 1.5})) for _ in range(3)]
            began = time.monotonic()
            await until(lambda: load() == 3.0)
            assert time.monotonic() - began < 1.0
            await busy[0]
            began = time.monotonic()
            await until(lambda: load() == 2.0)
            assert time.monotonic() - began < 1.0
            for each in busy[1:]:
                each.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            began = time.monotonic()
            await until(lambda: load() == 0.0)
            assert time.monotonic() - began < 1.0
            assert written(one) == before

    run(main)


def test_what_is_not_heard_again_is_believed_no_more(store_url: str, run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("shoal.services.known.BELIEVED_SECONDS", 0.7)

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as one, running(store_url, limits=UNLIMITED) as other:
            echo = await one.services.start(Echo)
            await until(lambda: [each.load for each in other.services.records()] == [0.0])
            one.services.node.env.bus.ring("services.load", f"{echo.uuid} 2.5 {'0' * 32} 7 half")
            await until(lambda: other.services.records()[0].load == 2.5)
            assert one.services.records()[0].load == 0.0, "what a node has it knows itself"
            await until(lambda: other.services.records()[0].load == 0.0, 5.0)

    run(main)


def test_the_least_loaded_of_all_nodes_is_asked(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as one, running(store_url, limits=UNLIMITED) as other:
            busy = await one.services.start(Worker, {"slow": 5.0})
            free = await one.services.start(Worker)
            await until(lambda: len(other.services.records()) == 2)
            work = [asyncio.ensure_future(one.services.request(busy, {"n": n})) for n in range(4)]
            await until(lambda: any(each.load for each in other.services.records()))
            balancer = LoadBalancer(other.services, "least_loaded")
            replies = [await balancer.call(Capability("worker"), {"n": n}) for n in range(10)]
            assert Counter(reply.record.instance for reply in replies) == {free.instance: 10}
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    run(main)
