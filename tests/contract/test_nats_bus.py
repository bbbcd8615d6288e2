"""The bus through NATS keeps the contract of buses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from shoal.bus import open_bus
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bus
from shoal.testing.bus_suite import BusSuite


class TestNatsBus(BusSuite):
    url = ""

    @pytest.fixture(autouse=True)
    def server(self, nats_url: str) -> None:
        self.url = nats_url

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
