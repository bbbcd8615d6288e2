from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shoal.bus import open_bus
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bus
from shoal.testing.bus_suite import BusSuite


class TestLocalBus(BusSuite):
    @contextlib.asynccontextmanager
    async def buses(self, count: int) -> AsyncIterator[list[Bus]]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "bus"
            buses = [open_bus("local://", clock=RealClock(), folder=folder) for _ in range(count)]
            for number, bus in enumerate(buses):
                await bus.start(f"node-{number}")
            try:
                yield buses
            finally:
                for bus in buses:
                    await bus.stop()
                assert list(folder.iterdir()) == []


class TestInProcessBus(BusSuite):
    @contextlib.asynccontextmanager
    async def buses(self, count: int) -> AsyncIterator[list[Bus]]:
        if count > 1:
            pytest.skip("without a folder there is no other node to reach")
        bus = open_bus("local://", clock=RealClock())
        await bus.start("node")
        try:
            yield [bus]
        finally:
            await bus.stop()
