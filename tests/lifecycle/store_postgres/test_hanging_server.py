"""A server that hangs: whoever reads waits for it once, not each time, so that a loop can go on."""

from __future__ import annotations

import asyncio
import time

import pytest

from shoal.errors import StoreError
from shoal.store import open_store
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.support.runtimes import running

AT_ONCE = 2.0
"""Far below the 5 s in which a read is given up."""


def test_a_server_that_hangs_is_waited_for_once(postgres_url: str) -> None:
    async def main() -> None:
        async with Proxy(postgres_url) as proxy:
            store = open_store(proxy.url)
            await store.open()
            proxy.flowing.clear()
            with pytest.raises(StoreError, match="in time"):
                await asyncio.to_thread(store.tasks.counts)
            begun = time.monotonic()
            for _ in range(10):
                with pytest.raises(StoreError, match="does not answer"):
                    await asyncio.to_thread(store.tasks.counts)
            assert time.monotonic() - begun < AT_ONCE
            proxy.flowing.set()
            async with asyncio.timeout(30):
                while True:
                    try:
                        await asyncio.to_thread(store.tasks.counts)
                    except StoreError:
                        await asyncio.sleep(0.05)
                    else:
                        break
            await store.close()

    asyncio.run(main())


def test_the_sweeps_of_a_node_do_not_block_its_loop(postgres_url: str) -> None:
    async def main() -> None:
        async with Proxy(postgres_url) as proxy, running(proxy.url, lease_seconds=1) as runtime:
            env = runtime.services.node.env
            longest, before = 0.0, time.monotonic()
            proxy.flowing.clear()
            while not env.lease_over():
                await asyncio.sleep(0.01)
                longest, before = max(longest, time.monotonic() - before), time.monotonic()
            proxy.flowing.set()
            assert longest < AT_ONCE
            async with asyncio.timeout(30):
                await env.sure_of_lease()

    asyncio.run(main())
