"""Writes from threads with loops of their own, such as the renewal of a lock, while the loop of the store is busy."""

from __future__ import annotations

import asyncio
import threading

from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW

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
