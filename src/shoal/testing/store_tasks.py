"""The part of the conformance suite for tasks: one life, order, claims, attempts, limits."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from shoal.errors import IdempotencyConflictError, LeaseLostError, QueueFullError, TaskNotFoundError
from shoal.kernel.event import EventFilter, Fact
from shoal.kernel.ports import Fence, Outcome, Settlement, Store
from shoal.kernel.room import Room, Slot
from shoal.kernel.task import RetryPolicy
from shoal.testing.store_frame import message
from shoal.testing.store_queue_frame import (
    NOW,
    after,
    check_counts,
    claim,
    fence,
    kinds,
    new,
    on_nodes,
    run_all,
    settle,
    submit,
)

__all__ = ["TasksContract"]


class TasksContract:
    """The contract of ``TaskStore``, without dependencies."""

    @on_nodes
    async def test_a_task_comes_back_as_it_was_stored(self, store: Store) -> None:
        first = new()
        full = new(
            "full",
            priority=7,
            input_data={"a": [1, {"b": None}], "ü": "☃"},
            dependencies=(first.task_id,),
            parent_id=first.task_id,
            root_id=first.task_id,
            agent="a9",
            not_before=after(5.25),
            timeout_seconds=1.5,
            max_retries=3,
            retry=RetryPolicy(max_retries=3, retry_on=("ValueError",)),
            on_dependency_failure="run",
            idempotency_key="k",
            metadata={"m": 1},
        )
        assert await submit(store, first, full) == [first.task_id, full.task_id]
        assert store.tasks.get(first.task_id) == first
        assert store.tasks.get(full.task_id) == full
        assert await store.tasks.find([full.task_id, "nobody"]) == {full.task_id: full}
        with pytest.raises(TaskNotFoundError):
            store.tasks.get("nobody")

    @on_nodes
    async def test_one_life(self, store: Store) -> None:
        (task_id,) = await submit(store, new(input_data={"n": 1}))
        (given,) = await claim(store, now=after(1))
        assert given.task == store.tasks.get(task_id)
        assert (given.task.status, given.task.attempt, given.task.assigned_agent_id) == ("running", 1, "a1")
        assert check_counts(store, 1)["running"] == 1
        facts = (Fact(event_type="extra", task_id=task_id),)
        done = await settle(store, given, output={"x": 2}, now=after(3.5), facts=facts)
        assert done.applied and [end.task_id for end in done.ended] == [task_id]
        task = store.tasks.get(task_id)
        assert task.result() == {"x": 2} and task.completed_at == after(3.5) and task.started_at == after(1)
        assert kinds(store, task_id) == ["task_enqueued", "task_assigned", "task_started", "extra", "task_completed"]
        assert list(store.tasks.durations("")) == [2.5]
        assert check_counts(store, 1)["completed"] == 1

    @pytest.mark.parametrize("output", [None, 0, False, "", [], {}, {"a": None}, 1.5])
    @on_nodes
    async def test_outputs_come_back_equal(self, store: Store, output: object) -> None:
        (task_id,) = await submit(store, new())
        await settle(store, (await claim(store))[0], output=output)
        found = store.tasks.get(task_id).result()
        assert found == output and type(found) is type(output)

    @on_nodes
    async def test_mail_is_acknowledged_with_the_task_that_took_it(self, store: Store) -> None:
        for outcome, left in ((Outcome.FAILED, 1), (Outcome.COMPLETED, 0)):
            note = message(durable=True)
            await store.mail.put(["a1"], note, now=NOW)
            await submit(store, new())
            assert [each.message_id for each in await store.mail.take("a1", "n1", now=NOW, limit=1)] == [
                note.message_id
            ]
            await settle(store, (await claim(store))[0], outcome, acks=(note.message_id,))
            assert await store.mail.release("a1", "n1", now=NOW) == left
            await store.mail.ack("a1", [note.message_id], now=NOW)

    @on_nodes
    async def test_priority_then_submission(self, store: Store) -> None:
        chance = random.Random(5)
        tasks = [new(f"{place:03}", priority=chance.randint(0, 100)) for place in range(100)]
        for task in tasks:
            await submit(store, task)
        wanted = [task.name for task in sorted(tasks, key=lambda task: (task.priority, task.name))]
        assert await run_all(store) == wanted

    @on_nodes
    async def test_slots_get_what_they_may_run_and_the_first_listed_is_served_first(self, store: Store) -> None:
        mine, skilled, grouped, any1, any2, other = await submit(
            store, new(agent="a1"), new(capability="ocr"), new(group="g"), new(), new(), new(agent="zz")
        )
        room = Room([
            Slot(agent_id="a2", targets=("", "agent:a2", "capability:ocr")),
            Slot(agent_id="a1", targets=("", "agent:a1", "group:g"), free=3),
        ])  # fmt: skip
        given = await store.tasks.claim("n1", room, now=NOW)
        assert [(each.task.task_id, each.agent_id) for each in given] == [
            (mine, "a1"), (skilled, "a2"), (grouped, "a1"), (any1, "a1"),
        ]  # fmt: skip
        again = await store.tasks.claim("n1", room, now=NOW)
        assert [(each.task.task_id, each.agent_id) for each in again] == [(any2, "a2")]
        assert store.tasks.get(other).status == "pending"

    @on_nodes
    async def test_a_lent_slot_takes_its_family_only(self, store: Store) -> None:
        (parent,) = await submit(store, new("parent"))
        await claim(store)
        await submit(store, new("stranger", priority=0))
        (child,) = await submit(store, new("child", parent_id=parent, root_id=parent))
        lent = Slot(agent_id="a1", targets=("", "agent:a1"), root_id=parent)
        given = await store.tasks.claim("n1", Room([lent]), now=NOW)
        assert [each.task.task_id for each in given] == [child]
        assert await store.tasks.claim("n1", Room([lent]), now=NOW) == []

    @on_nodes
    async def test_the_oldest_starved_task_comes_first(self, store: Store) -> None:
        (old,) = await submit(store, new(priority=100))
        await submit(store, *(new(priority=0) for _ in range(5)), now=after(400))
        (given,) = await claim(store, now=after(400), starved_before=NOW)
        assert given.task.priority == 0
        (given,) = await claim(store, now=after(400), starved_before=after(100))
        assert given.task.task_id == old
        (given,) = await claim(store, now=after(400), starved_before=after(100))
        assert given.task.priority == 0

    @on_nodes
    async def test_eight_claimers_on_one_task(self, store: Store) -> None:
        await submit(store, new())
        given = await asyncio.gather(*(claim(store, node_id=f"n{1 + place % 2}") for place in range(8)))
        assert sum(len(each) for each in given) == 1

    @on_nodes
    async def test_only_the_present_attempt_writes(self, store: Store) -> None:
        (task_id,) = await submit(store, new())
        (first,) = await claim(store)
        await settle(store, first, Outcome.INTERRUPTED)
        (second,) = await claim(store, node_id="n2")
        assert second.task.attempt == 2
        before = store.events.last_id()
        assert not (await settle(store, first)).applied
        for call in (
            store.tasks.progress(fence(first), 0.5, "", now=NOW),
            store.tasks.checkpoint(fence(first), {}, now=NOW),
            store.journal.record(f"task:{task_id}", "k", 1, now=NOW, fence=fence(first)),
        ):
            with pytest.raises(LeaseLostError):
                await call
        assert store.events.last_id() == before and store.journal.load(f"task:{task_id}") == {}
        one = Settlement(fence=fence(second, "n2"), agent_id="a1", outcome=Outcome.COMPLETED, output=1)
        both = await asyncio.gather(store.tasks.settle(one, now=NOW), store.tasks.settle(one, now=NOW))
        assert [each.applied for each in both] == [True, False]
        assert check_counts(store, 1)["completed"] == 1

    @on_nodes
    async def test_a_retry_waits_and_keeps_its_place(self, store: Store) -> None:
        retried, _ = await submit(store, new("first"), new("second"))
        (given,) = await claim(store)
        await settle(store, given, Outcome.RETRY, not_before=after(2))
        task = store.tasks.get(retried)
        assert (task.status, task.retry_count, task.error_type) == ("pending", 1, "ValueError")
        assert store.tasks.position(retried, now=after(1)).reason == "retry_wait"
        assert check_counts(store, 2)["ready"] == 1
        (given,) = await claim(store, now=after(2))
        assert (given.task.name, given.task.attempt) == ("first", 2)
        assert "task_retrying" in kinds(store, retried)
        await settle(store, given, Outcome.RETRY, not_before=after(9))
        (other,) = await claim(store, 2, waited=[Fence(retried, "n1", 1)])
        assert other.task.name == "second", "the wait of an earlier attempt does not count"
        (given,) = await claim(store, waited=[fence(given)])
        assert given.task.attempt == 3, "it waited long enough, whatever the time"
        await settle(store, given)
        assert store.tasks.get(retried).error_type is None
        check_counts(store, 2)

    @on_nodes
    async def test_interruptions_and_deaths_are_counted_until_there_is_progress(self, store: Store) -> None:
        (task_id,) = await submit(store, new())

        async def lose(**fields: Any) -> tuple[int, int, int]:
            await settle(store, (await claim(store))[0], Outcome.INTERRUPTED, **fields)
            task = store.tasks.get(task_id)
            return task.deaths, task.interruptions, task.retry_count

        assert await lose(died=True) == (1, 0, 0)
        assert await lose(lost=True) == (1, 1, 0)
        assert await lose() == (1, 1, 0), "an orderly interruption does not count"
        (given,) = await claim(store)
        await store.journal.record(f"task:{task_id}", "k", 1, now=NOW, fence=fence(given))
        assert (store.tasks.get(task_id).deaths, store.tasks.get(task_id).interruptions) == (0, 0)
        await settle(store, given, Outcome.INTERRUPTED, died=True)
        (given,) = await claim(store)
        await store.journal.record(f"task:{task_id}", "k", 2, now=NOW, fence=fence(given))
        assert store.tasks.get(task_id).deaths == 1, "a step that was there before is no progress"
        await store.tasks.checkpoint(fence(given), {"at": 3}, now=NOW)
        task = store.tasks.get(task_id)
        assert (task.deaths, task.checkpoint) == (0, {"at": 3})
        await store.tasks.progress(fence(given), 0.5, "half", now=NOW)
        task = store.tasks.get(task_id)
        assert (task.progress, task.progress_note) == (0.5, "half")

    @on_nodes
    async def test_not_before_is_never_early(self, store: Store) -> None:
        (task_id,) = await submit(store, new(not_before=after(10)))
        assert store.tasks.position(task_id, now=NOW).reason == "not_before"
        assert await claim(store, now=after(9.999999)) == []
        assert [given.task.task_id for given in await claim(store, now=after(10))] == [task_id]
        check_counts(store, 1)

    @on_nodes
    async def test_queue_full_is_all_or_none(self, store: Store) -> None:
        await submit(store, new(), new(), max_pending=3)
        with pytest.raises(QueueFullError) as caught:
            await submit(store, new(), new(), max_pending=3)
        assert caught.value.max_size == 3
        assert check_counts(store, 2)["pending"] == 2
        assert len(store.events.query(EventFilter(event_type="queue_full"), 10)) == 1
        await submit(store, new(), max_pending=3)
        await claim(store)
        await submit(store, new(), max_pending=3)

    @on_nodes
    async def test_one_key_is_one_task(self, store: Store) -> None:
        ids = await asyncio.gather(
            *(submit(store, new("n", input_data={"a": 1, "b": 2}, idempotency_key="k")) for _ in range(50))
        )
        assert len({task_id for (task_id,) in ids}) == 1
        same = new("n", input_data={"b": 2, "a": 1}, idempotency_key="k")
        follower = new("f", dependencies=(same.task_id,))
        first, _ = await submit(store, same, follower)
        assert first == ids[0][0] and store.tasks.get(follower.task_id).dependencies == (first,)
        for other in (new("x", input_data={"a": 1, "b": 2}, idempotency_key="k"), new("n", idempotency_key="k")):
            with pytest.raises(IdempotencyConflictError) as caught:
                await submit(store, new(), other)
            assert caught.value.task_id == first
        check_counts(store, 2)
