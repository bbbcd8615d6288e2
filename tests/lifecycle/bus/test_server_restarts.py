"""The server of a bus is killed, stands still, or goes away: nobody who asked waits in silence, and the bus goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from shoal.bus import open_bus
from shoal.cluster import NatsServer, PostgresServer
from shoal.errors import BusError, DeadAgentError
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere, until
from tests.lifecycle.bus.nodes import links, node, process
from tests.support.engines import UNSYNCED, fresh_folder

ENGINES = ["nats", "postgres"]


@contextlib.asynccontextmanager
async def served(engine: str) -> AsyncIterator[NatsServer | PostgresServer]:
    """Give a server of one's own, to be killed."""
    folder = fresh_folder()
    server = NatsServer(folder) if engine == "nats" else PostgresServer(folder, settings=UNSYNCED)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_is_killed_and_started_again(engine: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with served(engine) as server, node(server.url, "here") as bus, process(server.url, "there"):
            inbox, heard = Inbox(), list[str]()
            bus.attach("inbox", inbox)
            bus.subscribe("inbox", "news")
            bus.hear("tasks", heard.append)
            await attached_everywhere([bus], "silent-there")
            asking = [asyncio.ensure_future(bus.request("silent-there", a_message(), None)) for _ in range(3)]
            await bus.request("echo-there", a_message(), 5.0)
            began = time.monotonic()
            await server.process.kill()
            for each in asking:
                with pytest.raises(DeadAgentError, match=r"No connection to|was lost before") as caught:
                    await asyncio.wait_for(each, 1.0)
                assert caught.value.reason == "node_lost"
            assert bus.has("echo-there")  # an outage is no death
            with pytest.raises(DeadAgentError, match="The connection is made again by itself; ask again then"):
                await asyncio.wait_for(bus.request("echo-there", a_message(), None), 1.0)
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(bus.send("echo-there", a_message()), 1.0)
            assert await asyncio.wait_for(bus.publish("news", a_message(topic="news")), 1.0) == 1
            bus.ring("tasks", "alone")
            await until(lambda: heard == ["alone"])
            assert time.monotonic() - began < 5.0
            bus.attach("later", Replier(lambda asked: "later"))
            await server.start()
            await until(lambda: links(bus).counts["reconnects"] == 1, 10.0)
            await until(lambda: "there" in links(bus).connections and not links(bus).connections["there"].is_lost, 10.0)
            assert (await bus.request("echo-there", a_message(7), 5.0)).data == 7
            async with node(server.url, "third") as third:  # what was attached meanwhile is told
                await attached_everywhere([third], "later")
                await attached_everywhere([third], "echo-there")
                assert (await third.request("later", a_message(), 5.0)).data == "later"
                third.ring("tasks", "again")
                await until(lambda: heard == ["alone", "again"])

    run(main)


@pytest.mark.parametrize("engine", ENGINES)
def test_who_comes_after_a_restart_is_told_at_once_who_is_there(engine: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with served(engine) as server, node(server.url, "here") as bus:
            bus.attach("echo", Replier(lambda asked: asked.data))
            await server.process.kill()
            await until(lambda: links(bus).counts["disconnects"] == 1)
            await server.start()
            await until(lambda: links(bus).counts["reconnects"] == 1, 10.0)
            for number in range(5):
                async with node(server.url, f"later-{number}") as later:
                    assert (await later.request("echo", a_message(number), 5.0)).data == number

    run(main)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_agent_that_does_not_come_back_after_an_outage_is_gone(engine: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with served(engine) as server, node(server.url, "here") as bus:
            async with process(server.url, "there"):
                await attached_everywhere([bus], "silent-there")
                await server.process.kill()
                await until(lambda: links(bus).counts["disconnects"] == 1)
            await server.start()
            await until(lambda: not bus.has("silent-there"), 10.0)
            with pytest.raises(DeadAgentError) as caught:
                await bus.request("silent-there", a_message(), None)
            assert caught.value.reason == "not_running"

    run(main)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_stands_still_is_noticed(engine: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with served(engine) as server, node(server.url, "here") as bus, process(server.url, "there"):
            await attached_everywhere([bus], "silent-there")
            asking = asyncio.ensure_future(bus.request("silent-there", a_message(), None))
            await bus.request("echo-there", a_message(), 5.0)
            for pid in _family(server.process.pid):
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(asking, 10.0)
            for pid in _family(server.process.pid):
                os.kill(pid, signal.SIGCONT)
            await until(lambda: "there" in links(bus).connections and not links(bus).connections["there"].is_lost, 15.0)
            assert (await bus.request("echo-there", a_message(7), 5.0)).data == 7

    run(main)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bus_stops_promptly_while_its_server_is_away(
    engine: str, run: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with served(engine) as server:
            async with node(server.url, "here") as bus:
                await server.process.kill()
                await until(lambda: links(bus).counts["disconnects"] == 1)
                await until(lambda: "cannot be reached" in caplog.text, 10.0)
                began = time.monotonic()
            assert time.monotonic() - began < 2.0
            password = server.url.partition("@")[0].rpartition(":")[2].strip("/")
            assert len(password) > 20
            assert password not in caplog.text

    caplog.set_level(logging.DEBUG, "shoal")
    run(main)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_is_not_there_or_refuses(engine: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with served(engine) as server:
            scheme, _, place = server.url.partition("://")
            address = place.rpartition("@")[2]
            for url in (f"{scheme}://{address}", f"{scheme}://shoal:wrong-one@{address}"):
                with pytest.raises(BusError, match=r"refused this node") as caught:
                    await open_bus(url, clock=RealClock()).start("here")
                assert "wrong-one" not in str(caught.value)
                assert "in the URL of the bus" in caught.value.__notes__[0]
            await server.stop()
            with pytest.raises(BusError, match="cannot be reached") as caught:
                await open_bus(server.url, clock=RealClock()).start("here")
            assert "Start the server" in caught.value.__notes__[0]
            assert server.url.partition("@")[0].rpartition(":")[2].strip("/") not in str(caught.value)

    run(main)


def _family(pid: int | None) -> list[int]:
    """Return a server and its children: PostgreSQL has a process for each connection."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in (str(pid), *file.read().split())]
