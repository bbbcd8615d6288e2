"""The part of the conformance suite for what is asked in one turn of the loop: it may be written in one transaction, and is
as if it had been written in its order."""

from __future__ import annotations

import asyncio

from shoal.errors import LeaseLostError
from shoal.kernel.ports import Fence, Store
from shoal.kernel.ports import Outcome as Ends
from shoal.kernel.room import Room, Slot
from shoal.testing.store_frame import events_of, message
from shoal.testing.store_queue_frame import (
    NOW,
    after,
    check_counts,
    claim,
    fence,
    kinds,
    new,
    on_nodes,
    settle,
    submit,
)

__all__ = ["TogetherContract"]

_BEGUN = ["task_enqueued", "task_assigned", "task_started"]


class TogetherContract:
    """The contract of verbs that are called one right after the other."""

    @on_nodes
    async def test_a_claim_gives_away_what_was_just_submitted(self, store: Store) -> None:
        old = new("old")
        await submit(store, old)
        plain, urgent, left = (
            new("plain", input_data={"a": [1]}, metadata={"m": {}}),
            new("urgent", priority=0),
            new("left"),
        )
        *_, given = await asyncio.gather(
            submit(store, plain), submit(store, left), submit(store, urgent), claim(store, 3, now=after(1))
        )
        assert [each.task.name for each in given] == ["urgent", "old", "plain"], "by priority, then by age"
        for each in given:
            assert each.task == store.tasks.get(each.task.task_id)
            assert (each.task.status, each.task.attempt, each.task.started_at) == ("running", 1, after(1))
            assert each.agent_id == each.task.assigned_agent_id == "a1"
            assert kinds(store, each.task.task_id) == _BEGUN
        assert given[2].task.input_data is not plain.input_data, "it is the agent's own"
        counts = check_counts(store, 4)
        assert (counts["running"], counts["ready"]) == (3, 1)
        assert (await settle(store, given[2], output=1)).applied
        (late,) = await claim(store)
        assert late.task.name == "left"

    @on_nodes
    async def test_what_was_just_submitted_is_given_once(self, store: Store) -> None:
        _, first, second, third = await asyncio.gather(
            submit(store, new("a"), new("b"), new("c")), claim(store, 2), claim(store, node_id="n2"), claim(store)
        )
        assert [[each.task.name for each in given] for given in (first, second, third)] == [["a", "b"], ["c"], []]
        assert kinds(store, second[0].task.task_id) == _BEGUN
        counts = check_counts(store, 3)
        assert (counts["running"], counts["ready"], counts["pending"]) == (3, 0, 0)

    @on_nodes
    async def test_each_gets_what_is_for_it(self, store: Store) -> None:
        (root_id,) = await submit(store, new())
        await claim(store)
        to_one, to_all, of_family = new(agent="a2"), new(), new(parent_id=root_id, root_id=root_id)
        slots = [
            Slot(agent_id="a1", targets=("", "agent:a1"), free=1),
            Slot(agent_id="a2", targets=("", "agent:a2"), free=1),
            Slot(agent_id="a3", targets=("",), free=1, root_id=root_id),
        ]
        stored = store.tasks.enqueue([to_one, to_all, of_family], now=NOW, max_pending=None)
        given = await store.tasks.claim("n1", Room(slots), now=NOW)
        await stored
        assert {each.task.task_id: each.agent_id for each in given} == {
            to_one.task_id: "a2", to_all.task_id: "a1", of_family.task_id: "a3",
        }  # fmt: skip

    @on_nodes
    async def test_what_may_not_be_claimed_stays(self, store: Store) -> None:
        await store.tasks.pause_queue(True, now=NOW)
        (task_id,), given = await asyncio.gather(submit(store, new()), claim(store))
        assert given == [] and store.tasks.get(task_id).status == "pending"
        await store.tasks.pause_queue(False, now=NOW)
        other = new()
        _, refused = await asyncio.gather(submit(store, other), claim(store, 2, node_id="n3"), return_exceptions=True)
        assert isinstance(refused, LeaseLostError) and store.tasks.get(other.task_id).status == "pending"
        assert check_counts(store, 2)["ready"] == 2 and len(await claim(store, 3)) == 2

    @on_nodes
    async def test_those_that_wait_are_found_by_what_ends_with_them(self, store: Store) -> None:
        (first,) = await submit(store, new())
        (given,) = await claim(store)
        second, beside = new(dependencies=(first,)), new("beside")
        later = new("later", not_before=after(60))
        _, done, _, after_it = await asyncio.gather(
            submit(store, beside, second), settle(store, given), submit(store, later), claim(store, 5)
        )
        assert done.applied and [each.task.task_id for each in after_it] == [beside.task_id, second.task_id]
        assert check_counts(store, 4)["running"] == 2

    @on_nodes
    async def test_the_end_of_one_makes_room_for_the_next(self, store: Store) -> None:
        await submit(store, new())
        (given,) = await claim(store)
        done, (task_id,), (taken,) = await asyncio.gather(
            settle(store, given), submit(store, new("next")), claim(store)
        )
        assert done.applied and taken.task.task_id == task_id and check_counts(store, 2)["completed"] == 1

    @on_nodes
    async def test_steps_are_recorded_together(self, store: Store) -> None:
        await submit(store, new(), new())
        one, two = await claim(store, 2)
        record = store.journal.record
        scope = f"task:{one.task.task_id}"
        await asyncio.gather(
            record(scope, "a", 1, now=NOW, fence=fence(one)),
            record(scope, "a", 2, now=NOW, fence=fence(one)),
            record(scope, "b", "\0", now=after(1), fence=fence(one), digest="d"),
            record("free", "a", None, now=NOW),
        )
        assert {key: (step.value, step.at) for key, step in store.journal.load(scope).items()} == {
            "a": (1, NOW), "b": ("\0", after(1)),
        }  # fmt: skip
        over = Fence(two.task.task_id, "n1", 9)
        results = await asyncio.gather(
            record("free", "b", 1, now=NOW, fence=fence(one)),
            record("free", "c", 1, now=NOW, fence=over),
            record("free", "d", 1, now=NOW),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), LeaseLostError, type(None)]
        assert list(store.journal.load("free")) == ["a", "b", "d"]

    @on_nodes
    async def test_only_a_new_step_proves_that_an_attempt_got_on(self, store: Store) -> None:
        await submit(store, new(), new())
        for _ in range(2):
            one, two = await claim(store, 2)
            for each in (one, two):
                await store.journal.record(f"task:{each.task.task_id}", "a", 1, now=NOW, fence=fence(each))
            for each in (one, two):
                await settle(store, each, Ends.INTERRUPTED, died=True)
        one, two = await claim(store, 2)
        await asyncio.gather(
            store.journal.record(f"task:{one.task.task_id}", "a", 1, now=NOW, fence=fence(one)),
            store.journal.record(f"task:{two.task.task_id}", "b", 1, now=NOW, fence=fence(two)),
        )
        assert [store.tasks.get(each.task.task_id).deaths for each in (one, two)] == [2, 0]

    @on_nodes
    async def test_the_limit_of_the_queue_counts_what_comes_with_it(self, store: Store) -> None:
        results = await asyncio.gather(
            *(submit(store, new(), max_pending=2) for _ in range(3)), claim(store), return_exceptions=True
        )
        assert [type(result).__name__ for result in results] == ["list", "list", "QueueFullError", "list"]
        assert check_counts(store, 2)["running"] == 1

    @on_nodes
    async def test_mail_is_put_and_acknowledged_together(self, store: Store) -> None:
        letters = [message(n, durable=n != 2) for n in range(3)]
        await asyncio.gather(
            *(store.mail.put(["r"], letter, now=NOW, node_id="n1") for letter in (*letters, letters[0])),
            store.mail.put(["s", "r", "r2"], letters[1], now=NOW),
        )
        assert [store.mail.waiting(each) for each in ("r", "s", "r2")] == [3, 1, 1]
        assert [each.data for each in await store.mail.take("r", "n1", now=NOW, limit=9)] == [0, 1, 2]
        ids = [letter.message_id for letter in letters]
        await asyncio.gather(
            store.mail.ack("r", ids[1:], now=NOW),
            store.mail.ack("r", [ids[0], "nobody's"], now=NOW),
            store.mail.ack("s", ids, now=NOW),
        )
        assert [store.mail.waiting(each) for each in ("r", "s", "r2")] == [0, 0, 1]
        assert await store.mail.release("r", "n1", now=NOW) == 0, "nothing is with the node any more"
        told = [(event.agent_id, event.details["recipients"]) for event in events_of(store, "message_sent")]
        assert [recipients for _, recipients in told] == [["r"], ["r"], ["s", "r2"]]
        received = [(event.agent_id, event.details["message_id"]) for event in events_of(store, "message_received")]
        assert received == [("r", ids[1]), ("r", ids[0]), ("s", ids[1])]

    @on_nodes
    async def test_a_node_that_was_given_up_posts_nothing(self, store: Store) -> None:
        await store.leases.rescue(["n1"], now=NOW, max_interruptions=3)
        of_lost, of_other = message(durable=True), message(durable=True)
        results = await asyncio.gather(
            store.mail.put(["r"], of_other, now=NOW, node_id="n2"),
            store.mail.put(["r"], of_lost, now=NOW, node_id="n1"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), LeaseLostError]
        (taken,) = await store.mail.take("r", "n2", now=NOW, limit=9)
        assert taken.message_id == of_other.message_id
