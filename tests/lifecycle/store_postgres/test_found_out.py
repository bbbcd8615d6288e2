"""What becomes of an operation whose statement was sent and not answered."""

from __future__ import annotations

import asyncio
import time

import pytest

from shoal.errors import StoreError
from shoal.kernel.ports import Store
from shoal.store.postgres import lone
from shoal.store.postgres.lone import _unless_written
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Reader, Transaction
from shoal.testing.store_queue_frame import claim, kinds, new, settle, submit
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.lifecycle.store_postgres.test_cuts import ENDED, play, until_ready

FAR_SECONDS = 5.0


def test_a_connection_that_falls_silent_is_waited_for_shortly(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lone._ANSWER_SECONDS <= 5.0
    monkeypatch.setattr(lone, "_ANSWER_SECONDS", 0.5)

    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        begun = time.monotonic()
        await until_ready(store)
        proxy.commit, proxy.cut_next = b"enqueued-alone", "silent"
        (task_id,) = await submit(store, new("enqueued-alone"))
        await until_ready(store)
        proxy.commit, proxy.cut_next = b"task_assigned", "silent"
        (given,) = await claim(store)
        await until_ready(store)
        proxy.commit, proxy.cut_next = b"done-alone", "silent"
        assert (await settle(store, given, output="done-alone")).applied
        assert time.monotonic() - begun < FAR_SECONDS and proxy.cuts == 3
        assert kinds(looker, task_id) == ENDED

    play(postgres_url, scene)


def test_a_mark_that_was_left_stays_whatever_is_raised_behind_it(postgres_url: str) -> None:
    """Else the statement could still be carried out, while whoever asked is told what was raised."""

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        database = store.database

        def fail(cx: Transaction) -> None:
            raise ValueError("not to be written")

        def fail_late(cx: Transaction) -> None:
            cx.execute("INSERT INTO meta (key, value) VALUES ('half', '1')")
            raise ValueError("after a write")

        def mark(writer: str) -> object:
            return database.read(Reader.value, "SELECT number FROM writers WHERE writer = ?", (writer,))

        with pytest.raises(ValueError, match="not to be written"):
            await database.write(_unless_written, ("w1", 3), "lost answer", fail, ())
        assert mark("w1") == 4
        with pytest.raises(StoreError, match="after a write"):  # of which it is said then that it may be stored
            await database.write(_unless_written, ("w2", 3), "lost answer", fail_late, ())
        assert mark("w2") is None
        assert database.read(Reader.value, "SELECT value FROM meta WHERE key = 'half'") is None
        await store.close()

    asyncio.run(main())
