"""A connection that is cut at a commit: the outcome is found out, so nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio

import pytest

from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW, kinds, new, node, submit
from tests.lifecycle.store_postgres.proxy import Cut, Proxy


@pytest.mark.parametrize("cut", ["before", "answer"])
def test_a_cut_at_a_commit(postgres_url: str, cut: Cut) -> None:
    async def main() -> None:
        looker = open_store(postgres_url)  # reading blocks this loop, on which the proxy runs
        await looker.open()
        async with Proxy(postgres_url) as proxy:
            store = open_store(proxy.url)
            await store.open()
            await store.leases.join(node("n1"), now=NOW)
            for _ in range(3):
                proxy.cut_next = cut
                (task_id,) = await submit(store, new())
                assert looker.tasks.get(task_id).status == "pending"
                assert kinds(looker, task_id) == ["task_enqueued"]
            assert proxy.cuts == 3 and looker.tasks.counts()["pending"] == 3
            await store.close()
        await looker.close()

    asyncio.run(main())
