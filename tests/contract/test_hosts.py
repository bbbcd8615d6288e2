from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shoal.boxes.host import ChildHost
from shoal.kernel.clock import RealClock
from shoal.kernel.inline import InlineHost
from shoal.kernel.ports import Host
from shoal.kernel.thread import ThreadHost
from shoal.kernel.threads import DaemonPool
from shoal.testing.host_suite import HostSuite


class TestInlineHost(HostSuite):
    @asynccontextmanager
    async def host(self) -> AsyncIterator[Host]:
        pool = DaemonPool(4)
        host = InlineHost(RealClock(), pool)
        yield host
        await host.close()
        pool.shutdown()


class TestThreadHost(HostSuite):
    isolation = "thread"

    @asynccontextmanager
    async def host(self) -> AsyncIterator[Host]:
        pool = DaemonPool(4)
        host = ThreadHost(RealClock(), pool)
        yield host
        await host.close()
        pool.shutdown()


class TestProcessHost(HostSuite):
    isolation = "process"

    @asynccontextmanager
    async def host(self) -> AsyncIterator[Host]:
        host = ChildHost(RealClock(), warm_processes=1)
        yield host
        await host.close()
