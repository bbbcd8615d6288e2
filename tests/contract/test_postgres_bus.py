"""The bus through PostgreSQL keeps the contract of buses."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from shoal.bus import open_bus
from shoal.cluster import PostgresServer
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bus
from shoal.testing.bus_suite import BusSuite

_numbers = itertools.count(1)


class TestPostgresBus(BusSuite):
    url = ""

    @pytest.fixture(autouse=True)
    def server(self, postgres_server: PostgresServer) -> None:
        self.url = f"{postgres_server.url}?schema=bus_{next(_numbers)}"

    @contextlib.asynccontextmanager
    async def buses(self, count: int) -> AsyncIterator[list[Bus]]:
        buses = [open_bus(self.url, clock=RealClock()) for _ in range(count)]
        for number, bus in enumerate(buses):
            await bus.start(f"node-{number}")
        try:
            yield buses
        finally:
            for bus in buses:
                await bus.stop()
