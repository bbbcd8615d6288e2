"""NATS: a message to many subscriptions of several processes; each process answers when all of its own have it."""

from __future__ import annotations

import asyncio
from collections import Counter

import nats
from nats.aio.msg import Msg

from benchmarks.common import keep_in_flight, run
from benchmarks.peers.nats_ import TEXT, served
from benchmarks.sides import Sides, until_alone


def fan(count: int, nodes: int, subscribers: int) -> dict[str, float]:
    """Return how many subscriptions a second get a message, each known to its publisher."""
    with served() as address, Sides(__name__) as sides:
        for _ in range(nodes):
            sides.begin("hearing", address=address, subscribers=subscribers)
        per_s = run(_publishing(address, count, nodes))
    return {"per_s": per_s, "deliveries_per_s": per_s * nodes * subscribers}


async def _publishing(address: str, count: int, nodes: int) -> float:
    connection = await nats.connect(address)
    waiting: dict[str, tuple[asyncio.Future[None], list[int]]] = {}
    inbox = connection.new_inbox()

    async def told(message: Msg) -> None:
        done, left = waiting[message.subject]
        left[0] -= 1
        if not left[0]:
            done.set_result(None)

    await connection.subscribe(f"{inbox}.*", cb=told)
    numbers = iter(range(10 * count))

    async def publish() -> None:
        reply = f"{inbox}.{next(numbers)}"
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting[reply] = done, [nodes]
        await connection.publish("news", TEXT, reply)
        await done
        del waiting[reply]

    await keep_in_flight(publish, count // 10, 20)
    per_s = await keep_in_flight(publish, count, 20)
    await connection.close()
    return per_s


def hearing(address: str, subscribers: int) -> None:
    """Subscribe *subscribers* times, until alone."""
    run(_hearing(address, subscribers))


async def _hearing(address: str, subscribers: int) -> None:
    connection = await nats.connect(address)
    heard: Counter[str] = Counter()

    async def hear(message: Msg) -> None:
        heard[message.reply] += 1
        if heard[message.reply] == subscribers:
            del heard[message.reply]
            await message.respond(b"")

    for _ in range(subscribers):
        await connection.subscribe("news", cb=hear)
    await connection.flush()
    await until_alone()
