"""autogen-core's distributed runtime beside the buses: one gRPC host, workers that are processes, over loopback."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from autogen_core import AgentId, MessageContext, RoutedAgent, TopicId, TypeSubscription, message_handler

from benchmarks.common import keep_in_flight, run, spread
from benchmarks.peers.autogen_ import Said
from benchmarks.peers.autogen_grpc_ import TEXT, free_address, worker
from benchmarks.sides import Sides, say, until_alone

__all__ = ["fan", "hearing", "talk"]

_GRPC = "benchmarks.peers.autogen_grpc_"
_AT_ONCE = 20
_ASKER = AgentId("asker", "default")


def talk(count: int, lanes: int) -> dict[str, float]:
    """Return what a request to an agent of another worker takes, one at a time and with *lanes* at once."""
    address = free_address()
    with Sides(_GRPC) as sides:
        sides.begin("hosting", address=address)
        sides.begin("answering", address=address)
        return run(_talk(address, count, lanes))


async def _talk(address: str, count: int, lanes: int) -> dict[str, float]:
    runtime = await worker(address)
    echo, seconds = AgentId("echo", "default"), []

    async def ask() -> None:
        begun = time.perf_counter()
        await runtime.send_message(Said(TEXT), echo, sender=_ASKER)
        seconds.append(time.perf_counter() - begun)

    for _ in range(count + count // 10):
        await ask()
    alone = seconds[count // 10 :]
    many = await keep_in_flight(ask, count, lanes)
    await runtime.stop()
    return {**spread(alone), "per_s": len(alone) / sum(alone), "ten_per_s": many}


def fan(count: int, nodes: int, subscribers: int) -> dict[str, float]:
    """Return how many subscribers a second get a message, each known to its publisher by one answer of each worker."""
    address = free_address()
    with Sides(_GRPC) as hosts, Sides(__name__) as sides:
        hosts.begin("hosting", address=address)
        for number in range(nodes):
            sides.begin("hearing", address=address, number=number, subscribers=subscribers)
        per_s = run(_fan(address, count, nodes))
    return {"per_s": per_s, "deliveries_per_s": per_s * nodes * subscribers}


async def _fan(address: str, count: int, nodes: int) -> float:
    runtime = await worker(address)
    waiting: dict[int, tuple[asyncio.Future[None], list[int]]] = {}

    class Told(RoutedAgent):
        @message_handler
        async def on_said(self, message: Said, ctx: MessageContext) -> None:
            done, left = waiting[int(message.value)]
            left[0] -= 1
            if not left[0]:
                done.set_result(None)

    await Told.register(runtime, "told", lambda: Told("told"))
    await runtime.add_subscription(TypeSubscription("heard", "told"))
    await asyncio.sleep(1)  # the host learns of it in its own time
    numbers = itertools.count()

    async def publish() -> None:
        number = next(numbers)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting[number] = done, [nodes]
        await runtime.publish_message(Said(f"{number} {TEXT}"), TopicId("news", "default"))
        async with asyncio.timeout(30):
            await done
        del waiting[number]

    await keep_in_flight(publish, max(1, count // 10), _AT_ONCE)
    per_s = await keep_in_flight(publish, count, _AT_ONCE)
    await runtime.stop()
    return per_s


def hearing(address: str, number: int, subscribers: int) -> None:
    """Be a worker with so many subscribers, until alone."""
    run(_hearing(address, number, subscribers))


async def _hearing(address: str, number: int, subscribers: int) -> None:
    runtime = await worker(address)
    heard: Counter[int] = Counter()

    class Listener(RoutedAgent):
        @message_handler
        async def on_said(self, message: Said, ctx: MessageContext) -> None:
            which = int(str(message.value).partition(" ")[0])
            heard[which] += 1
            if heard[which] == subscribers:
                del heard[which]
                await self.publish_message(Said(which), TopicId("heard", "default"))

    for place in range(subscribers):
        kind = f"listener-{number}-{place}"
        await Listener.register(runtime, kind, lambda: Listener("listener"))
        await runtime.add_subscription(TypeSubscription("news", kind))
    await asyncio.sleep(1)  # the host learns of it in its own time
    say()
    await until_alone()
