"""The part of the conformance suite for the queue as a whole: its pause, who stands where, how long the oldest waits."""

from __future__ import annotations

import pytest

from shoal.errors import LeaseLostError
from shoal.kernel.event import EventFilter
from shoal.kernel.ports import Outcome, Store
from shoal.kernel.task import TaskStatus
from shoal.testing.store_queue_frame import NOW, after, claim, kinds, new, on_nodes, settle, submit

__all__ = ["QueueContract"]


class QueueContract:
    """The contract of what ``TaskStore`` tells of the queue."""

    @on_nodes
    async def test_the_pause_is_kept_and_claims_need_a_lease(self, store: Store) -> None:
        (task_id,) = await submit(store, new())
        assert await store.tasks.pause_queue(True, now=NOW)
        assert not await store.tasks.pause_queue(True, now=NOW)
        assert store.tasks.queue(now=NOW).paused and await claim(store) == []
        assert store.tasks.position(task_id, now=NOW).reason == "queue_paused"
        assert await store.tasks.pause_queue(False, now=NOW) and not store.tasks.queue(now=NOW).paused
        with pytest.raises(LeaseLostError):
            await claim(store, node_id="stranger")
        assert len(await claim(store)) == 1
        with pytest.raises(ValueError, match="running"):
            store.tasks.position(task_id, now=NOW)
        told = [event.event_type for event in store.events.scan(EventFilter()) if "queue_" in event.event_type]
        assert told == ["queue_paused", "queue_resumed"]

    @on_nodes
    async def test_position_search_and_unroutable(self, store: Store) -> None:
        ids = await submit(store, *(new(f"p{place}", priority=50 - place) for place in range(5)))
        assert [store.tasks.position(task_id, now=NOW).position for task_id in ids] == [5, 4, 3, 2, 1]
        (given,) = await claim(store)
        assert store.tasks.position(ids[0], now=NOW).ahead == 3
        assert store.tasks.position(ids[0], now=NOW, targets=["", "group:g"]).ahead == 3
        assert store.tasks.position(ids[0], now=NOW, targets=["group:g"]).position == 1
        assert [task.task_id for task in store.tasks.search(limit=2)] == [ids[4], ids[3]]
        assert [task.name for task in store.tasks.search(agent_id="a1")] == [given.task.name]
        assert [task.name for task in store.tasks.search(name="p2", status=TaskStatus.PENDING)] == ["p2"]
        lonely, lonelier, known = await submit(
            store, new(capability="rare"), new(group="none"), new(capability="common")
        )
        for told in (2, 0):
            assert await store.tasks.unroutable(["", "capability:common"], now=NOW) == told
        assert kinds(store, lonely)[-1] == kinds(store, lonelier)[-1] == "task_unroutable"
        assert kinds(store, known) == ["task_enqueued"]

    @on_nodes
    async def test_the_oldest_ready_task_of_all_words_is_known_by_the_time_it_became_ready(self, store: Store) -> None:
        assert store.tasks.queue(now=after(100)).ready_since is None
        first, second, third = new(agent="a1"), new(capability="ocr"), new()
        await submit(store, first, now=after(2))
        await submit(store, second, now=after(1))
        await submit(store, third, new(not_before=after(8)), now=after(3))
        await submit(store, new(dependencies=(third.task_id,)), now=NOW)
        for word, since in (("capability:ocr", 2), ("agent:a1", 3)):
            (given,) = await claim(store, 1, word, now=after(4))
            assert store.tasks.queue(now=after(5)).ready_since == after(since), "what runs is not ready"
            await settle(store, given, now=after(4))
        (given,) = await claim(store, now=after(5))
        assert store.tasks.queue(now=after(7)).ready_since is None, "neither what waits for a time nor for another task"
        await settle(store, given, Outcome.RETRY, not_before=after(6), now=after(5))
        assert store.tasks.queue(now=after(5)).ready_since is None
        assert store.tasks.queue(now=after(9)).ready_since == after(6), "also before a claim has seen that it is due"
        assert [each.task.task_id for each in await claim(store, now=after(9))] == [third.task_id]
        assert store.tasks.queue(now=after(9)).ready_since == after(8), "also after one has"
