"""What comes while a group is written keeps its place behind those that came before it."""

from __future__ import annotations

import asyncio
import threading

from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Transaction


def test_nothing_overtakes_those_that_are_written_one_by_one(postgres_url: str) -> None:
    order: list[str] = []
    late: list[asyncio.Future[None]] = []
    queued = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = PostgresStore(postgres_url)
        await store.open()
        database = store.database

        def note(_: Transaction, word: str) -> None:
            order.append(word)

        def ask_late() -> None:
            late.append(database.write(note, "late"))
            queued.set()

        def spoil(cx: Transaction) -> None:
            cx.execute("INSERT INTO meta (key, value) VALUES ('spoilt', '1')")
            if not late:
                loop.call_soon_threadsafe(ask_late)
                assert queued.wait(10)
            raise ValueError("refused after a write")

        refused, _ = await asyncio.gather(database.write(spoil), database.write(note, "early"), return_exceptions=True)
        assert isinstance(refused, ValueError)
        await late[0]
        await store.close()

    asyncio.run(main())
    assert order == ["early", "late"]
