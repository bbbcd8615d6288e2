"""Operations of one group: what they do together, in which order, and what becomes of each."""

from __future__ import annotations

import asyncio

import pytest

from shoal.errors import IdempotencyConflictError
from shoal.kernel.ports import Fence, Outcome, Settlement, Store
from shoal.store import open_store
from shoal.store.sql.hot import HOT, runs_beside
from shoal.store.sql.operations import Operation
from shoal.store.sqlite.store import SqliteStore
from shoal.testing.faults import Faults
from shoal.testing.store_queue_frame import NOW, check_counts, claim, fence, kinds, new, node, on_nodes, submit


@pytest.fixture
def store() -> Store:
    return open_store("sqlite://:memory:", inline=True)


class TestTogether:
    @on_nodes
    async def test_ends_and_new_tasks_in_one_group(self, store: Store) -> None:
        first = await submit(store, *(new() for _ in range(6)))
        given = await claim(store, free=6)
        dependents = [new("dependent", dependencies=(task_id,)) for task_id in first]
        ends, tasks = [], []
        for each, dependent in zip(given, dependents, strict=True):
            end = Settlement(fence=fence(each), agent_id="a1", outcome=Outcome.COMPLETED)
            ends.append(asyncio.ensure_future(store.tasks.settle(end, now=NOW)))
            tasks.append(asyncio.create_task(submit(store, dependent)))
        assert all(each.applied for each in await asyncio.gather(*ends))
        assert await asyncio.gather(*tasks) == [[each.task_id] for each in dependents]
        assert {each.task.task_id for each in await claim(store, free=6)} == {each.task_id for each in dependents}
        assert check_counts(store, 12)["completed"] == 6

    @on_nodes
    async def test_the_same_end_twice_counts_once(self, store: Store) -> None:
        await submit(store, new(), new())
        one, two = await claim(store, free=2)
        ends = [Settlement(fence=fence(each), agent_id="a1", outcome=Outcome.COMPLETED) for each in (one, two, one)]
        settled = await asyncio.gather(*(store.tasks.settle(end, now=NOW) for end in ends))
        assert [each.applied for each in settled] == [True, True, False]
        assert kinds(store, one.task.task_id).count("task_completed") == 1
        assert check_counts(store, 2)["completed"] == 2

    @on_nodes
    async def test_one_that_cannot_be_stored_spoils_no_other(self, store: Store) -> None:
        await submit(store, new(), new(), new())
        given = await claim(store, free=3)
        outputs: list[object] = [{"n": 1}, {"n": object()}, {"n": 3}]
        ends = [
            Settlement(fence=fence(each), agent_id="a1", outcome=Outcome.COMPLETED, output=output)
            for each, output in zip(given, outputs, strict=True)
        ]
        settled = await asyncio.gather(*(store.tasks.settle(end, now=NOW) for end in ends), return_exceptions=True)
        assert isinstance(settled[1], TypeError)
        assert [store.tasks.get(each.task.task_id).status for each in given] == ["completed", "running", "completed"]


def test_a_refusal_after_a_look_leaves_the_group_together() -> None:
    async def main() -> None:
        store = SqliteStore(":memory:", inline=True)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        await submit(store, new("first", idempotency_key="k"))
        faults = Faults()
        store.database.faults = faults
        *_, refused, given = await asyncio.gather(
            *(submit(store, new()) for _ in range(5)),
            submit(store, new("other", idempotency_key="k")),
            claim(store, 9),
            return_exceptions=True,
        )
        assert isinstance(refused, IdempotencyConflictError)
        assert isinstance(given, list) and len(given) == 6
        assert faults.passed["before_commit"] == 1
        check_counts(store, 6)
        await store.close()

    asyncio.run(main())


def test_only_what_is_safe_runs_beside_other_nodes() -> None:
    verbs = {fn.__name__: fn for fn in HOT}

    async def main() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def may(name: str, *args: object) -> bool:
            return runs_beside(Operation(verbs[name], args, future, None))

        assert may("enqueue", [new()], NOW, None)
        assert not may("enqueue", [new(dependencies=("t1",))], NOW, None)
        assert may("enqueue", [new(parent_id="t1"), new(idempotency_key="k")], NOW, None)
        for outcome in Outcome:
            end = Settlement(fence=Fence("t", "n1", 1), agent_id="a1", outcome=outcome)
            assert may("settle", end, NOW) == (outcome is Outcome.COMPLETED)
        assert may("ack") and not runs_beside(Operation(node, (), future, None))

    asyncio.run(main())
