"""Services whose host dies or falls silent are found no more.

- link: the connection to the node ends, so nobody stands behind the address (``Bus.has``).
- lease: the node renews its lease no more; another one lets its agents fail (``Takeover.look``).
- exit: a child ends; its node removes the cell, tells the other nodes that nobody stands behind the address, and writes that
  it failed.
- outsider: nobody renews the lease of what was registered over HTTP (``Seen.alive``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.runtime import AgentRuntime
from shoal.services import RestartPolicy
from tests.lifecycle.services.test_control import code_of
from tests.lifecycle.services.test_nodes import known, pair
from tests.support.registries import served
from tests.support.runtimes import running
from tests.support.servers import Echo

LEASE = 2.0
PROMPT = 1.0
NODE = """
import asyncio, sys
from shoal.runtime import AgentRuntime
from tests.support.servers import Echo

async def main():
    async with AgentRuntime(store=sys.argv[1], config={"lease_seconds": float(sys.argv[2])}) as runtime:
        record = await runtime.services.start(Echo, isolation=sys.argv[3])
        print(record.uuid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
OUTSIDER = """
import asyncio, sys
from shoal.services import RegistryClient

async def main():
    async with RegistryClient(sys.argv[1]) as client:
        registration = await client.register({"name": "shell", "capabilities": ["echo"]}, register="background")
        print(await registration.wait(), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@asynccontextmanager
async def process(program: str, *arguments: str) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """Run a program; yields it and its first line. Ends it whatever happens."""
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child, (await asyncio.to_thread(child.stdout.readline)).strip()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def within(seconds: float, since: float, fact: Callable[[], Awaitable[bool]]) -> None:
    """Wait until *fact*, *seconds* after *since* at most, and a moment more to tell by how much it was missed."""
    async with asyncio.timeout(seconds + 5):
        while not await fact():
            await asyncio.sleep(0.005)
    assert time.monotonic() - since < seconds


def failed(runtime: AgentRuntime, uuid: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return [each.state for each in runtime.services.records() if each.uuid == uuid] in ([], ["failed"])

    return look


def found_no_more(runtime: AgentRuntime) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await runtime.services.discover("echo") == []

    return look


# Who waits: link. Found no more: link or lease. Written as failed: lease.
@pytest.mark.spec("S4", "S43")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_node_is_killed(store_url: str, run: Any, isolation: str) -> None:
    async def main() -> None:
        async with (
            running(store_url, lease_seconds=LEASE) as runtime,
            process(NODE, store_url, str(LEASE), isolation) as (node, uuid),
        ):
            (found,) = await known(runtime, "echo", 1)
            assert found.uuid == uuid
            asked = [asyncio.ensure_future(runtime.services.request("echo", {"pause": 30})) for _ in range(2)]
            while (await runtime.services.control(uuid, "status"))["queued"] != 1:
                await asyncio.sleep(0.01)
            node.send_signal(signal.SIGKILL)
            began = time.monotonic()
            assert [await code_of(each) for each in asked] == ["AGENT_DIED"] * 2
            assert time.monotonic() - began < PROMPT
            assert await code_of(runtime.services.request(uuid, {})) == "AGENT_DIED"
            await within(LEASE + 1.0, began, found_no_more(runtime))
            await within(LEASE + 1.0, began, failed(runtime, uuid))

    run(main)


# lease alone: the connection stays.
@pytest.mark.spec("S4")
def test_a_node_falls_silent(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with (
            running(store_url, lease_seconds=LEASE) as runtime,
            process(NODE, store_url, str(LEASE), "inline") as (node, uuid),
        ):
            await known(runtime, "echo", 1)
            await asyncio.sleep(1.5 * LEASE)  # a node that has just come judges nobody
            node.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            try:
                await within(LEASE + 1.0, began, found_no_more(runtime))
                await within(LEASE + 1.0, began, failed(runtime, uuid))
            finally:
                node.send_signal(signal.SIGCONT)

    run(main)


# exit: each node looks at its own facts.
@pytest.mark.spec("S4")
def test_a_child_is_killed(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with pair(store_url) as (one, other):
            never = RestartPolicy(mode="never")
            echo = await one.services.start(Echo, isolation="process", restart=never)
            await known(other, "echo", 1)
            assert echo.pid is not None
            os.kill(echo.pid, signal.SIGKILL)
            began = time.monotonic()
            for node in (one, other):
                await within(PROMPT, began, found_no_more(node))
                await within(PROMPT, began, failed(node, echo.uuid))

    run(main)


# outsider.
@pytest.mark.spec("S4")
def test_what_was_registered_over_http_dies(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with (
            running(store_url) as runtime,
            running(store_url) as other,
            served(runtime, ttl=LEASE) as (serving, _),
            process(OUTSIDER, serving.url) as (client, uuid),
        ):
            await known(other, "echo", 1)
            await asyncio.sleep(1.5 * LEASE)
            (found,) = await runtime.services.discover("echo")
            assert found.uuid == uuid, "it renews its lease"
            client.send_signal(signal.SIGKILL)
            began = time.monotonic()
            for node in (runtime, other):
                await within(LEASE + 1.0, began, found_no_more(node))

    run(main)
