"""A writer whose mark was forgotten, since it had written nothing for days while its node lived."""

from __future__ import annotations

import asyncio

from shoal.store.postgres.address import address_of
from shoal.store.postgres.connection import connect
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.store import PostgresStore
from shoal.testing.store_queue_frame import new, submit


def test_what_comes_alone_is_one_statement_after_its_writer_was_forgotten(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        lone = store.database._intake._lone
        while not lone._number:
            await submit(store, new())
            await asyncio.sleep(0.01)
        link = await asyncio.to_thread(connect, address_of(postgres_url), writes=True)
        driver = PostgresDriver(link)
        await asyncio.to_thread(driver.execute, "DELETE FROM writers")
        await submit(store, new())
        known = await asyncio.to_thread(driver.rows, "SELECT writer, number FROM writers")
        assert (lone._name, 0) in known  # no mark of the statement that has written nothing
        while lone._crowded:
            await submit(store, new())
        await submit(store, new())
        marks = await asyncio.to_thread(driver.rows, "SELECT writer, number FROM writers")
        await asyncio.to_thread(link.drop)
        await store.close()
        assert (lone._name, lone._number) in marks and lone._crowded == 0

    asyncio.run(main())
