"""A node that stops while its connections to a server are made again: none of them stays open."""

from __future__ import annotations

import asyncio

from shoal.bus.places import PostgresPlace
from shoal.bus.postgres import PostgresBroker
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Wire
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.support.runtimes import until


class Desk:
    """Hears nothing."""

    def heard(self, data: bytes) -> None: ...

    async def hurry(self) -> None: ...

    def wake(self) -> None: ...

    def rang(self, bell: str, note: str) -> None: ...

    def gone(self, session: str) -> None: ...

    def down(self, reason: str) -> None: ...


def test_a_leave_that_is_cancelled_leaves_no_connection_open(postgres_url: str) -> None:
    async def main() -> None:
        async with Proxy(postgres_url) as proxy:
            clock = RealClock()
            broker = PostgresBroker(PostgresPlace(proxy.url), clock, Wire("here", lambda: ()))
            await broker.connect(clock.new_id(), Desk())
            assert len(proxy._carried) == 2
            proxy.flowing.clear()
            leaving = asyncio.create_task(broker.close())
            await until(lambda: broker._sender is None)
            leaving.cancel()
            await asyncio.wait([leaving])
            proxy.flowing.set()
            await until(lambda: all(each.done() for each in proxy._carried), 10)

    asyncio.run(main())
