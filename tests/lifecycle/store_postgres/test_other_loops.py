"""Writes from threads with loops of their own, such as the renewal of a lock, while the loop of the store is busy."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shoal.store import open_store
from shoal.store.postgres.store import PostgresStore
from shoal.testing.store_queue_frame import NOW, claim, kinds, new, node, submit
from tests.lifecycle.store_postgres.test_cuts import until_ready

FAR_SECONDS = 5.0


def test_a_write_of_another_loop_does_not_wait_for_the_loop_of_the_store(postgres_url: str) -> None:
    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        written = threading.Event()

        async def write() -> None:
            await store.kv.set("key", 1, now=NOW)
            written.set()

        other = threading.Thread(target=asyncio.run, args=(write(),))
        other.start()
        assert written.wait(FAR_SECONDS), "this loop is blocked, and the other one waits for it"
        other.join()
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_write_of_another_loop_does_not_wait_for_what_is_carried_out_alone(postgres_url: str, turns: int) -> None:
    """It takes its place behind that, and both are carried out once, while the loop of the store is blocked."""

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        (first,) = await submit(store, new("first"))
        await until_ready(store)
        written = threading.Event()
        given = asyncio.ensure_future(claim(store))
        for _ in range(1 + turns):
            await asyncio.sleep(0)

        async def write() -> None:
            await submit(store, new("second"))
            written.set()

        other = threading.Thread(target=asyncio.run, args=(write(),))
        other.start()
        assert written.wait(FAR_SECONDS), "this loop is blocked, and the other one waits for it"
        assert store.tasks.get(first).status == "running"
        other.join()
        (claimed,) = await given
        assert (claimed.task.task_id, claimed.task.attempt) == (first, 1)
        (later,) = await claim(store)
        assert (later.task.name, later.task.attempt) == ("second", 1)
        assert kinds(store, first) == ["task_enqueued", "task_assigned", "task_started"]
        await until_ready(store)
        await store.close()

    asyncio.run(main())
