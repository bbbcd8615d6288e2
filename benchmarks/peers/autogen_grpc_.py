"""autogen-core's distributed runtime: one gRPC host, two workers, each a process of its own, over loopback."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from socket import socket

from autogen_core import AgentId, try_get_known_serializers_for_type
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime, GrpcWorkerAgentRuntimeHost

from benchmarks.common import run, spread
from benchmarks.peers.autogen_ import Echo, Said
from benchmarks.sides import Sides, say, until_alone

__all__ = ["answering", "asking", "free_address", "hosted", "hosting", "talk", "worker"]

TEXT = "x" * 1024


def talk(count: int) -> dict[str, float]:
    """Return what a request to an agent of the other worker takes, one at a time."""
    address = free_address()
    with Sides(__name__) as sides:  # one after the other: a worker that comes before the host is refused, and ends
        sides.begin("hosting", address=address)
        sides.begin("answering", address=address)
        return sides.start("asking", address=address, count=count).told()


def free_address() -> str:
    """Return an address of this machine at which nobody listens."""
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def hosting(address: str) -> None:
    """Carry what the workers say, until killed."""
    run(_hosting(address))


async def _hosting(address: str) -> None:
    await hosted(address)
    await until_alone()


async def hosted(address: str) -> None:
    """Begin to be the host, and return when it listens."""
    GrpcWorkerAgentRuntimeHost(address=address).start()
    await _reachable(address)


async def _reachable(address: str) -> None:
    name, _, port = address.partition(":")
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection(name, int(port))
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise TimeoutError(f"nobody listens on {address}")


async def worker(address: str) -> GrpcWorkerAgentRuntime:
    """Return a worker that is connected. Raises AioRpcError: the host is not there."""
    runtime = GrpcWorkerAgentRuntime(host_address=address)
    runtime.add_message_serializer(try_get_known_serializers_for_type(Said))
    await runtime.start()
    return runtime


def answering(address: str) -> None:
    """Be the worker with the agent, until killed."""
    run(_answering(address))


async def _answering(address: str) -> None:
    runtime = await worker(address)
    await Echo.register(runtime, "echo", lambda: Echo("echo"))
    await asyncio.sleep(1)  # the host learns of it in its own time
    await until_alone()


def asking(address: str, count: int) -> None:
    """Be the other worker: ask *count* times and print the times."""
    run(_asking(address, count))


async def _asking(address: str, count: int) -> None:
    runtime = await worker(address)
    echo, seconds = AgentId("echo", "default"), []
    for _ in range(count + count // 10):
        begun = time.perf_counter()
        await runtime.send_message(Said(TEXT), echo, sender=AgentId("asker", "default"))
        seconds.append(time.perf_counter() - begun)
    seconds = seconds[count // 10 :]
    say(**spread(seconds), per_s=len(seconds) / sum(seconds))
    await runtime.stop()
