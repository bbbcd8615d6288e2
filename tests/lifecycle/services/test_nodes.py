"""Services of several nodes on one store: found, asked, controlled, and missed when they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.runtime import AgentRuntime
from shoal.services import Capability
from tests.lifecycle.services.test_control import code_of
from tests.support.runtimes import UNLIMITED, running
from tests.support.servers import Asker, Echo, Looper, Sick


async def known(runtime: AgentRuntime, word: str, count: int, seconds: float = 5.0) -> list[Any]:
    async with asyncio.timeout(seconds):
        while len(found := await runtime.services.discover(word)) != count:
            await asyncio.sleep(0.005)
    return found


@asynccontextmanager
async def pair(url: str) -> AsyncIterator[tuple[AgentRuntime, AgentRuntime]]:
    async with running(url, limits=UNLIMITED) as one, running(url, limits=UNLIMITED) as other:
        yield one, other


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_services_of_another_node_are_found_and_asked(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with pair(store_url) as (one, other):
            await one.services.discover("echo")
            echo = await one.services.start(Echo, isolation=isolation)
            await other.services.start(Asker, isolation=isolation)
            began = time.monotonic()
            (found,) = await known(other, "echo", 1)
            assert time.monotonic() - began < 1.0
            assert (found.uuid, found.node, found.instance) == (echo.uuid, one.node_id, echo.instance)
            assert (await other.services.request("echo", {"n": 1}))["echo"] == 1
            asked = await one.services.request("asker", {"target": "echo", "payload": {"n": 2}})
            assert asked["asked"]["echo"] == 2
            assert await code_of(other.services.request(Capability("echo"), {"do": "refuse"})) == "INVALID_OPERATION"

    run(main)


def test_control_reaches_other_nodes(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with pair(store_url) as (one, other):
            echo = await one.services.start(Echo, {"token": "t"})
            await known(other, "echo", 1)
            order = other.services.control
            status = await order(echo, "status")
            assert (status["state"], status["config"]) == ("running", {"token": "***"})
            assert await order(echo, "shout", "a") == "A"
            assert await code_of(order(echo, "dance")) == "INVALID_ACTION"
            assert await order("echo", "pause") == "Paused"
            await known(other, "echo", 0)
            waiting = asyncio.ensure_future(other.services.request("echo", {"n": 3}))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert await order(echo, "resume") == "Resumed"
            assert (await waiting)["echo"] == 3
            slow = asyncio.ensure_future(other.services.request(echo, {"n": 4, "pause": 0.3}))
            await asyncio.sleep(0.1)
            await other.services.stop(echo.instance)
            assert await code_of(other.services.request(echo, {"n": 5})) == "DRAINING"
            assert (await slow)["echo"] == 4
            async with asyncio.timeout(5):
                while other.services.records():
                    await asyncio.sleep(0.01)
            assert await code_of(other.services.request("echo", {"n": 6})) == "NOT_FOUND"

    run(main)


def test_a_stranger_of_another_node_may_not_control(store_url: str, run: Any) -> None:
    from tests.lifecycle.services.test_control import Boss, Subject

    async def main() -> None:
        async with pair(store_url) as (one, other):
            await one.services.start(Subject)
            for name in ("chief", "clerk"):
                await other.services.start(Boss, {"name": name})
            await known(other, "subject", 1)
            order = {"whom": "subject", "action": "status"}
            assert await code_of(other.services.request("clerk", order)) == "UNAUTHORIZED"
            assert (await other.services.request("chief", order))["said"]["name"] == "subject"

    run(main)


def test_circles_across_nodes_are_refused(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with pair(store_url) as (one, other):
            await one.services.start(Looper, {"name": "a"})
            await other.services.start(Looper, {"name": "b"})
            await known(one, "loop", 2)
            await known(other, "loop", 2)
            assert await one.services.request("a", {"ring": ["b", "a"]}) == {"via": ["a", "b", "a"]}
            both = [one.services.request("a", {"ring": ["b"], "pause": 0.1}, timeout=15)]
            both.append(other.services.request("b", {"ring": ["a"], "pause": 0.1}, timeout=15))
            ended = await asyncio.gather(*both, return_exceptions=True)
            assert "DEADLOCK" in {getattr(each, "code", "answered") for each in ended}

    run(main)


def test_who_is_not_well_is_left_out_on_other_nodes_too(store_url: str, run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("shoal.services.checkup.EVERY_SECONDS", 0.05)

    async def main() -> None:
        async with pair(store_url) as (one, other):
            sick = await one.services.start(Sick)
            await known(other, "echo", 1)
            await other.services.control(sick, "be", False)
            await known(other, "echo", 0)
            assert len(await other.services.discover("echo", healthy=False)) == 1
            await other.services.control(sick, "be", True)
            await known(other, "echo", 1)

    run(main)
