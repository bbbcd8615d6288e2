"""A connection that is cut at a commit: the outcome is found out, so nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shoal.kernel.event import EventFilter, Fact
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW, claim, kinds, new, node, settle, submit
from tests.lifecycle.store_postgres.proxy import Cut, Proxy

Scene = Callable[[Proxy, Store, Store], Awaitable[None]]
ENDED = ["task_enqueued", "task_assigned", "task_started", "task_completed"]


def play(url: str, scene: Scene) -> None:
    async def main() -> None:
        looker = open_store(url)  # reading blocks this loop, on which the proxy runs
        await looker.open()
        async with Proxy(url) as proxy:
            store = open_store(proxy.url)
            await store.open()
            await store.leases.join(node("n1"), now=NOW)
            await scene(proxy, store, looker)
            await store.close()
        await looker.close()

    asyncio.run(main())


@pytest.mark.parametrize("cut", ["before", "answer"])
def test_a_cut_at_a_commit(postgres_url: str, cut: Cut) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        (first,) = await submit(store, new())
        for count in range(1, 4):
            proxy.cut_next = cut
            (task_id,) = await submit(store, new(dependencies=(first,)))  # takes its turn among the nodes
            assert proxy.cuts == count
            assert looker.tasks.get(task_id).status == "pending"
            assert kinds(looker, task_id) == ["task_enqueued"]
        assert looker.tasks.counts()["pending"] == 4

    play(postgres_url, scene)


@pytest.mark.parametrize("cut", ["before", "answer", "late"])
def test_a_cut_at_a_transaction_that_is_one_statement(postgres_url: str, cut: Cut) -> None:
    """Once submitted, once claimed and once completed: also when the statement comes to the server after all."""

    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        for count in range(0, 9, 3):
            task = new(f"cut-{count}")
            proxy.commit, proxy.cut_next = b"cut-%d" % count, cut
            (task_id,) = await submit(store, task)
            assert proxy.cuts == count + 1
            proxy.commit, proxy.cut_next = b"task_assigned", cut
            (given,) = await claim(store)
            assert (given.task.task_id, given.task.attempt, proxy.cuts) == (task_id, 1, count + 2)
            proxy.commit, proxy.cut_next = b"done-%d" % count, cut
            assert (await settle(store, given, output=f"done-{count}")).applied and proxy.cuts == count + 3
            await proxy.carry_on()
            found = looker.tasks.get(task_id)
            assert (found.status, found.attempt, found.output_data) == ("completed", 1, f"done-{count}")
            assert kinds(looker, task_id) == ENDED
            counts = looker.tasks.counts()
            assert (counts["pending"], counts["running"], counts["completed"]) == (0, 0, count // 3 + 1)

    play(postgres_url, scene)


@pytest.mark.parametrize("cut", ["before", "answer", "late", "between"])
def test_an_event_that_has_no_key_is_written_once(postgres_url: str, cut: Cut) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        for number in range(3):
            proxy.commit, proxy.cut_next = b"agent-%d" % number, cut
            await store.events.append([Fact(event_type="cut", agent_id=f"agent-{number}")], now=NOW)
        assert proxy.cuts == 3
        await proxy.carry_on()
        found = looker.events.query(EventFilter(event_type="cut", oldest_first=True), 100)
        assert [event.agent_id for event in found] == ["agent-0", "agent-1", "agent-2"]

    play(postgres_url, scene)
