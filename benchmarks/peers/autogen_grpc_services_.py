"""autogen-core's distributed runtime: one gRPC host, and one worker per type, each a process of its own, over loopback.

A worker that comes before the host listens is refused, and ends: each is started when the one before it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from autogen_core import AgentId, MessageContext, RoutedAgent, message_handler
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime

from benchmarks import killing
from benchmarks.common import run
from benchmarks.peers.autogen_ import Said
from benchmarks.peers.autogen_grpc_ import free_address, hosted, worker
from benchmarks.services_requests import INSTANCES, TEXT, measured
from benchmarks.sides import Sides, until_alone

__all__ = ["between", "hosting", "kills", "working"]

ASKER = AgentId("asker", "default")
SLOW = "slow"


def between(count: int, alone: int) -> dict[str, float]:
    """Return the rate of many callers, and what one alone waits."""
    return run(_between(count, alone))


async def _between(count: int, alone: int) -> dict[str, float]:
    with Sides(__name__) as sides:
        address = _begin(sides, INSTANCES)
        runtime = await worker(address)
        turn = itertools.cycle(AgentId(f"echo-{number}", "default") for number in range(INSTANCES))
        figures = await measured(lambda: runtime.send_message(Said(TEXT), next(turn), sender=ASKER), count, alone)
        await runtime.stop()
        return figures


def _begin(sides: Sides, workers: int) -> str:
    address = free_address()
    sides.begin("hosting", address=address)
    starting = [sides.start("working", address=address, number=number) for number in range(workers)]
    for side in starting:
        side.told()
    return address


def kills(count: int) -> dict[str, float]:
    """Kill workers *count* times with requests under way; return what became of these."""
    return run(_kills(count))


async def _kills(count: int) -> dict[str, float]:
    with Sides(__name__) as sides:
        address = _begin(sides, killing.INSTANCES)
        workers = _Workers(sides, address, await worker(address))
        for name in workers.names:
            await workers.ask(name)
        return await killing.killed(workers, count)


class _Workers:
    """The instances of a measurement with kills."""

    def __init__(self, sides: Sides, address: str, runtime: GrpcWorkerAgentRuntime) -> None:
        self._sides = sides
        self._address = address
        self._runtime = runtime
        self._workers = sides.all[1:]
        self.names = list(range(len(self._workers)))

    async def ask(self, name: int) -> object:
        agent = AgentId(f"echo-{name}", "default")
        return await self._runtime.send_message(Said(SLOW), agent, sender=ASKER)

    def kill(self, name: int) -> None:
        self._workers[name].end()

    async def back(self, name: int) -> None:
        self._workers[name] = side = self._sides.start("working", address=self._address, number=name)
        await asyncio.to_thread(side.told)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.ask(name)  # who is asked for the first time is made first


def hosting(address: str) -> None:
    """Carry what the workers say, until killed."""
    run(_hosting(address))


async def _hosting(address: str) -> None:
    await hosted(address)
    await until_alone()


def working(address: str, number: int) -> None:
    """Be the worker with the agents of one type, until killed."""
    run(_working(address, number))


class _Echo(RoutedAgent):
    """Answers with what it was asked, and takes its time when it is asked to."""

    @message_handler
    async def on_said(self, message: Said, ctx: MessageContext) -> Said:
        """Return the question."""
        if message.value == SLOW:
            await asyncio.sleep(killing.HANDLER_SECONDS)
        return message


async def _working(address: str, number: int) -> None:
    runtime = await worker(address)
    await _Echo.register(runtime, f"echo-{number}", lambda: _Echo("echo"))
    await asyncio.sleep(1)  # the host learns of it in its own time
    await until_alone()
