"""autogen-core's distributed runtime: one gRPC host, two workers, each a process of its own, over loopback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from socket import socket

from autogen_core import AgentId, try_get_known_serializers_for_type
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime, GrpcWorkerAgentRuntimeHost

from benchmarks.common import run, spread
from benchmarks.peers.autogen_ import Echo, Said

__all__ = ["answering", "talk"]

TEXT = "x" * 1024


def talk(count: int) -> dict[str, float]:
    """Return what a request to an agent of the other worker takes, one at a time."""
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started: list[subprocess.Popen[str]] = []
    told: dict[str, float] = {}
    try:
        for name, more in (("hosting", {}), ("answering", {}), ("asking", {"count": count})):
            started.append(_side(name, address=address, **more))
            told = _told(started[-1])  # a worker that comes before the host is refused and gives up
        return told
    finally:
        for each in started:
            each.kill()
            each.wait()


def _side(name: str, **arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"from benchmarks.peers.autogen_grpc_ import {name}; {name}(**{arguments!r})"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _told(side: subprocess.Popen[str]) -> dict[str, float]:
    assert side.stdout is not None
    line = side.stdout.readline()
    if not line:
        raise RuntimeError(f"a side ended with {side.wait()} before it said anything")
    return dict(json.loads(line))


async def _until_alone() -> None:
    parent = os.getppid()
    print("{}", flush=True)
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(1)


def hosting(address: str) -> None:
    """Carry what the workers say, until killed."""
    run(_hosting(address))


async def _hosting(address: str) -> None:
    GrpcWorkerAgentRuntimeHost(address=address).start()
    await _reachable(address)
    await _until_alone()


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


async def _worker(address: str) -> GrpcWorkerAgentRuntime:
    runtime = GrpcWorkerAgentRuntime(host_address=address)
    runtime.add_message_serializer(try_get_known_serializers_for_type(Said))
    await runtime.start()
    return runtime


def answering(address: str) -> None:
    """Be the worker with the agent, until killed."""
    run(_answering(address))


async def _answering(address: str) -> None:
    runtime = await _worker(address)
    await Echo.register(runtime, "echo", lambda: Echo("echo"))
    await asyncio.sleep(1)  # the host learns of it in its own time
    await _until_alone()


def asking(address: str, count: int) -> None:
    """Be the other worker: ask *count* times and print the times."""
    run(_asking(address, count))


async def _asking(address: str, count: int) -> None:
    runtime = await _worker(address)
    echo, seconds = AgentId("echo", "default"), []
    for _ in range(count + count // 10):
        begun = time.perf_counter()
        await runtime.send_message(Said(TEXT), echo, sender=AgentId("asker", "default"))
        seconds.append(time.perf_counter() - begun)
    seconds = seconds[count // 10 :]
    print(json.dumps({**spread(seconds), "per_s": len(seconds) / sum(seconds)}), flush=True)
    await runtime.stop()
