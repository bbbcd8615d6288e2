"""Several servers of NATS that are one: the bus goes on when one of them dies. And a server that comes back as another."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shoal.bus.nats import NatsBroker
from shoal.bus.node import NodeBus
from shoal.cluster import NatsServer
from shoal.cluster.process import HOST, free_port
from shoal.errors import DeadAgentError
from shoal.testing.receivers import a_message, attached_everywhere, until
from tests.lifecycle.bus.nodes import links, node, process
from tests.support.engines import fresh_folder

LARGE = 1_000_000


@contextlib.asynccontextmanager
async def cluster(number: int) -> AsyncIterator[list[NatsServer]]:
    """Give servers that know each other, with a token."""
    routes = [free_port() for _ in range(number)]
    all_routes = ", ".join(f'"nats://{HOST}:{route}"' for route in routes)
    servers = []
    for route in routes:
        meeting = f'cluster {{ name: "test", listen: "{HOST}:{route}", routes: [{all_routes}] }}'
        servers.append(NatsServer(fresh_folder(), config=f'{meeting}\nauthorization {{ token: "secret" }}'))
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.stop()
            shutil.rmtree(server.folder)


def _server_of(bus: NodeBus, servers: list[NatsServer]) -> NatsServer:
    """Return the server that a bus is connected to."""
    broker: Any = links(bus)._broker
    assert isinstance(broker, NatsBroker) and broker._client is not None and broker._client.connected_url is not None
    port = broker._client.connected_url.port
    return next(server for server in servers if server.port == port)


async def _answers(bus: NodeBus, address: str) -> bool:
    try:
        return bool((await bus.request(address, a_message("x" * LARGE), 10.0)).data == LARGE)
    except DeadAgentError:
        return False


async def _answered(bus: NodeBus, address: str, within: float = 15.0) -> None:
    """Wait until *address* answers."""
    async with asyncio.timeout(within):
        while not await _answers(bus, address):
            await asyncio.sleep(0.05)


def test_a_server_of_a_cluster_dies(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with cluster(2) as servers:
            url = f"nats://secret@{','.join(f'{HOST}:{server.port}' for server in servers)}/failover"
            async with node(url, "here") as bus, process(url, "there"), process(url, "elsewhere"):
                for name in ("there", "elsewhere"):
                    await attached_everywhere([bus], f"size-{name}")
                    await _answered(bus, f"size-{name}")
                for _ in range(2):
                    gone = _server_of(bus, servers)
                    reconnects = links(bus).counts["reconnects"]
                    asking = asyncio.ensure_future(bus.request("silent-there", a_message(), None))
                    await asyncio.sleep(0)
                    await gone.process.kill()
                    with pytest.raises(DeadAgentError):
                        await asyncio.wait_for(asking, 2.0)
                    await until(lambda before=reconnects: links(bus).counts["reconnects"] > before, 10.0)  # type: ignore[misc]
                    assert _server_of(bus, servers) is not gone
                    for name in ("there", "elsewhere"):
                        await _answered(bus, f"size-{name}")
                    await gone.start()

    run(main)


def test_a_silent_server_keeps_nobody_from_the_others(run: Callable[..., None]) -> None:
    """One that stands still takes its share of the time, at the start and when the connection is made again."""

    async def main() -> None:
        async with cluster(2) as servers:
            url = f"nats://secret@{','.join(f'{HOST}:{server.port}' for server in servers)}/silent"
            servers[0].process.signal(signal.SIGSTOP)
            try:
                for _ in range(4):  # whichever is asked first
                    async with node(url, "here") as bus:
                        assert _server_of(bus, servers) is servers[1]
            finally:
                servers[0].process.signal(signal.SIGCONT)

    run(main)


def test_a_server_comes_back_with_another_payload_limit(run: Callable[..., None]) -> None:
    port = free_port()

    async def main() -> None:
        folder = fresh_folder()
        try:
            server = NatsServer(folder, port=port, config="max_payload: 65536")
            await server.start()
            async with node(server.url, "here") as bus, process(server.url, "there"):
                await attached_everywhere([bus], "size-there")
                await _answered(bus, "size-there")
                for limit in (4096, 1_048_576, 65536):
                    await server.process.kill()
                    server = NatsServer(folder, port=port, config=f"max_payload: {limit}")
                    await server.start()
                    await _answered(bus, "size-there")
                    broker: Any = links(bus)._broker
                    assert broker.packet_bytes == min(limit, 256 * 1024)
            await server.stop()
        finally:
            await server.stop()
            shutil.rmtree(folder)

    run(main)
