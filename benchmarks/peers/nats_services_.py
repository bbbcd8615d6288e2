"""NATS: requests with a queue group of three, each a process of its own, over loopback."""

from __future__ import annotations

import asyncio

import nats

from benchmarks import killing
from benchmarks.common import run
from benchmarks.peers.nats_ import served
from benchmarks.services_requests import INSTANCES, TEXT, measured
from benchmarks.sides import Sides, until_alone

__all__ = ["answering", "between", "kills"]

SUBJECT = "work"
SLOW = b"slow"
PATIENCE_SECONDS = 60.0


def between(count: int, alone: int) -> dict[str, float]:
    """Return the rate of many callers, and what one alone waits."""
    return run(_between(count, alone))


async def _between(count: int, alone: int) -> dict[str, float]:
    with served() as address, Sides(__name__) as sides:
        _begin(sides, address, INSTANCES)
        connection = await nats.connect(address)
        data = TEXT.encode()
        figures = await measured(lambda: connection.request(SUBJECT, data, timeout=PATIENCE_SECONDS), count, alone)
        await connection.close()
        return figures


def _begin(sides: Sides, address: str, instances: int) -> None:
    starting = [sides.start("answering", address=address) for _ in range(instances)]
    for side in starting:
        side.told()


def kills(count: int) -> dict[str, float]:
    """Kill instances *count* times with requests under way; return what became of these."""
    return run(_kills(count))


async def _kills(count: int) -> dict[str, float]:
    with served() as address, Sides(__name__) as sides:
        _begin(sides, address, killing.INSTANCES)
        connection = await nats.connect(address)
        figures = await killing.killed(_Group(sides, address, connection), count)
        await connection.close()
        return figures


class _Group:
    """The instances of a measurement with kills. Who of the group is asked is the server's choice."""

    def __init__(self, sides: Sides, address: str, connection: nats.NATS) -> None:
        self._sides = sides
        self._address = address
        self._connection = connection
        self._members = list(sides.all)
        self.names = list(range(len(self._members)))

    async def ask(self, name: int) -> object:
        return await self._connection.request(SUBJECT, SLOW, timeout=PATIENCE_SECONDS)

    def kill(self, name: int) -> None:
        self._members[name].end()

    async def back(self, name: int) -> None:
        self._members[name] = side = self._sides.start("answering", address=self._address)
        await asyncio.to_thread(side.told)


def answering(address: str) -> None:
    """Answer with what is asked, until killed."""
    run(_answering(address))


async def _answering(address: str) -> None:
    connection = await nats.connect(address)

    async def answer(message: object) -> None:
        if message.data == SLOW:  # type: ignore[attr-defined]
            await asyncio.sleep(killing.HANDLER_SECONDS)
        await message.respond(message.data)  # type: ignore[attr-defined]

    await connection.subscribe(SUBJECT, queue="workers", cb=answer)
    await connection.flush()
    await until_alone()
