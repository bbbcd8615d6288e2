"""What was accepted is written when the store closes, also when a connection is cut at that moment."""

from __future__ import annotations

import asyncio

import pytest

from shoal.kernel.ports import Store
from shoal.testing.store_queue_frame import NOW, new, submit
from tests.lifecycle.store_postgres.proxy import Cut, Proxy
from tests.lifecycle.store_postgres.test_cuts import play, until_ready


@pytest.mark.parametrize("cut", ["before", "answer", "late"])
@pytest.mark.parametrize("turns", [0, 1, 3])
def test_what_was_accepted_is_written(postgres_url: str, turns: int, cut: Cut) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        await until_ready(store)
        await submit(store, new("first"))
        proxy.commit, proxy.cut_next = b"the-last-one", cut
        written = store.tasks.enqueue([new("the-last-one")], now=NOW, max_pending=None)
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.close()
        await written
        await proxy.carry_on()
        assert sorted(task.name for task in looker.tasks.search()) == ["first", "the-last-one"]

    play(postgres_url, scene)


def test_a_group_that_is_cut_at_the_end_is_written_once_more(postgres_url: str) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        (first,) = await submit(store, new("first"))
        proxy.commit, proxy.cut_next = b"the-last-one", "before"
        written = store.tasks.enqueue([new("the-last-one", dependencies=(first,))], now=NOW, max_pending=None)
        await store.close()
        await written
        assert proxy.cuts == 1 and len(looker.tasks.search()) == 2

    play(postgres_url, scene)
