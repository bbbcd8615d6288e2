"""The end of what carries an operation out alone: whoever cancels it, whoever raises, those behind it are written."""

from __future__ import annotations

import asyncio

import pytest

from shoal.store import open_store
from shoal.store.postgres.store import PostgresStore
from shoal.testing.store_queue_frame import NOW, new, node, submit
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.lifecycle.store_postgres.test_cuts import until_ready

SOON_SECONDS = 20.0


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_whoever_cancels_all_asyncio_tasks_cancels_no_write(postgres_url: str, turns: int) -> None:
    """Before it begins, or while the server has it."""

    async def main() -> None:
        async with Proxy(postgres_url) as proxy:
            store = open_store(proxy.url)
            await store.open()
            await store.leases.join(node("n1"), now=NOW)
            await until_ready(store)
            await submit(store, new("first"))
            mine = asyncio.all_tasks()
            proxy.flowing.clear()
            written = store.tasks.enqueue([new("second")], now=NOW, max_pending=None)
            for _ in range(turns):
                await asyncio.sleep(0)
            others = [task for task in asyncio.all_tasks() - mine if task.get_name() == "shoal-store-alone"]
            assert len(others) == 1
            others[0].cancel()
            proxy.flowing.set()
            async with asyncio.timeout(SOON_SECONDS):
                await written
                await submit(store, new("third"))
                await until_ready(store)
                await submit(store, new("fourth"))
                await store.close()
        looker = open_store(postgres_url)
        await looker.open()
        assert sorted(task.name for task in looker.tasks.search()) == ["first", "fourth", "second", "third"]
        await looker.close()

    asyncio.run(main())


def test_what_other_loops_write_is_written_after_the_loop_has_ended(postgres_url: str) -> None:
    stores: list[PostgresStore] = []

    async def main() -> None:
        store = PostgresStore(postgres_url)
        stores.append(store)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        await until_ready(store)
        store.tasks.enqueue([new("left behind")], now=NOW, max_pending=None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert store.database._intake._alone is not None

    asyncio.run(main())

    async def write() -> None:
        async with asyncio.timeout(SOON_SECONDS):
            await submit(stores[0], new("of another loop"))

    asyncio.run(write())
    names = sorted(task.name for task in stores[0].tasks.search())
    assert names == ["left behind", "of another loop"]
    database = stores[0].database
    database._operations.put(None)
    assert database._thread is not None
    database._thread.join()
    assert database._readers is not None
    database._readers.close()


def test_a_callback_that_raises_holds_up_nobody(postgres_url: str) -> None:
    async def main() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))
        store = PostgresStore(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        await until_ready(store)

        def fail() -> None:
            raise ValueError("of a callback")

        undo = store.on_commit(fail)
        async with asyncio.timeout(SOON_SECONDS):
            await submit(store, new("first"))
            undo()
            await submit(store, new("second"))
            await store.close()
        assert [str(error) for error in told] == ["of a callback"]

    asyncio.run(main())
