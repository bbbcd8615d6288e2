"""Bad disks under PostgreSQL: one that stalls, one that is slow. Nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator

import pytest

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.cluster import LONG_LEASE_SECONDS
from tests.lifecycle.chaos.disk import can_be_slow, slow, stall
from tests.lifecycle.chaos.member import Servers
from tests.support.engines import fresh_folder

pytestmark = pytest.mark.long
Rounds = Callable[[int, int], int]


@pytest.fixture
def synced(nats_server: NatsServer, nats_url: str) -> Iterator[Servers]:
    """A PostgreSQL that waits for its disk at every commit, and NATS."""
    server = PostgresServer(fresh_folder())
    try:
        asyncio.run(server.start())
        yield Servers(server, nats_server, server.url, nats_url)
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(server.folder)


def test_the_disk_is_slow(suffer: Callable[..., None], rounds: Rounds, synced: Servers) -> None:
    """It stalls, and where it can be held to a few writes a second, it is."""
    harms = [stall, slow] if can_be_slow() else [stall]
    suffer(rounds(40, 2), *harms, lease=LONG_LEASE_SECONDS, servers=synced)
