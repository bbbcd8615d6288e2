"""The part of the conformance suite for tasks that wait for others, or end with others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from shoal.errors import CyclicDependencyError, DependencyFailedError, TaskNotFoundError
from shoal.kernel.ports import Outcome, Store
from shoal.kernel.task import Task
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

__all__ = ["DependenciesContract"]


class DependenciesContract:
    """The contract of ``TaskStore`` for dependencies, children and retention."""

    @on_nodes
    async def test_bad_dependencies_change_nothing(self, store: Store) -> None:
        ring = [f"c{place}" for place in range(5)]
        circle = [
            Task(task_id=ring[place], name="c", created_at=NOW, dependencies=(ring[place - 1],)) for place in range(5)
        ]
        alone = Task(task_id="self", name="self", created_at=NOW, dependencies=("self",))
        cases: list[tuple[Sequence[Task], type[Exception]]] = [
            ([new(), new(dependencies=("nobody",))], TaskNotFoundError),
            ([new(parent_id="nobody")], TaskNotFoundError),
            ([alone], CyclicDependencyError),
            ([new(), *circle], CyclicDependencyError),
        ]
        before = store.events.last_id()
        for batch, error in cases:
            with pytest.raises(error) as caught:
                await submit(store, *batch)
            if isinstance(caught.value, CyclicDependencyError):
                assert caught.value.cycle[0] == caught.value.cycle[-1]
                assert set(caught.value.cycle) in ({"self"}, set(ring))
        assert store.events.last_id() == before
        check_counts(store, 0)

    @on_nodes
    async def test_a_diamond_and_a_graph_run_in_order(self, store: Store) -> None:
        top = new("top")
        sides = [new(f"side{place}", dependencies=(top.task_id,)) for place in range(2)]
        bottom = new("bottom", dependencies=tuple(side.task_id for side in sides))
        await submit(store, bottom, *sides, top)
        blocked_by = store.tasks.position(bottom.task_id, now=NOW).blocked_by
        assert blocked_by == tuple(side.task_id for side in sides)
        assert await run_all(store) == ["top", "side0", "side1", "bottom"]
        chance = random.Random(3)
        graph: list[Task] = []
        for place in range(50):
            waits = chance.sample([task.task_id for task in graph], min(place, chance.randint(0, 4)))
            graph.append(new(f"{place}", dependencies=tuple(waits)))
        await submit(store, *chance.sample(graph, 50))
        order = await run_all(store)
        assert sorted(order, key=int) == [task.name for task in graph]
        names = {task.task_id: task.name for task in graph}
        for task in graph:
            assert all(order.index(names[other]) < order.index(task.name) for other in task.dependencies)
            assert store.tasks.get(task.task_id).dependencies == task.dependencies
        check_counts(store, 54)

    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    @on_nodes
    async def test_failure_spreads_once_with_cause_and_root(self, store: Store, how: str) -> None:
        top = new("top")
        sides = [new(f"side{place}", dependencies=(top.task_id,)) for place in range(2)]
        bottom = new("bottom", dependencies=tuple(side.task_id for side in sides))
        anyway = new("anyway", dependencies=(bottom.task_id, top.task_id), on_dependency_failure="run")
        await submit(store, top, *sides, bottom, anyway)
        (given,) = await claim(store)
        if how == "failed":
            done = await settle(store, given, Outcome.FAILED)
            ended, promoted = done.ended, done.promoted
        else:
            gone = await store.tasks.cancel(top.task_id, "why not", now=NOW)
            ended, promoted = gone.ended, gone.promoted
        doomed = sorted(task.task_id for task in (top, *sides, bottom))
        assert promoted and sorted(end.task_id for end in ended) == doomed
        for side in sides:
            _check_cause(store, side.task_id, top.task_id, how, top.task_id)
        _check_cause(store, bottom.task_id, sides[0].task_id, "failed", top.task_id)
        assert await run_all(store) == ["anyway"]
        late = new("late", dependencies=(bottom.task_id,))
        later = new("later", dependencies=(late.task_id,))
        free = new("free", dependencies=(late.task_id,), on_dependency_failure="run")
        await submit(store, later, late, free)
        _check_cause(store, late.task_id, bottom.task_id, "failed", top.task_id)
        _check_cause(store, later.task_id, late.task_id, "failed", top.task_id)
        assert kinds(store, late.task_id) == ["task_enqueued", "task_failed"]
        assert await run_all(store) == ["free"]
        check_counts(store, 8)

    @pytest.mark.parametrize("fails", [True, False])
    @on_nodes
    async def test_a_chain_of_10_000(self, store: Store, fails: bool) -> None:
        chain = [new()]
        for _ in range(9_999):
            chain.append(new(dependencies=(chain[-1].task_id,)))
        await submit(store, *reversed(chain))
        if fails:
            done = await settle(store, (await claim(store))[0], Outcome.FAILED)
            assert len(done.ended) == 10_000
            _check_cause(store, chain[-1].task_id, chain[-2].task_id, "failed", chain[0].task_id)
        else:
            assert len(await run_all(store)) == 10_000
        counts = store.tasks.counts()
        assert counts["failed" if fails else "completed"] == 10_000
        assert counts["pending"] == counts["ready"] == counts["running"] == 0

    @on_nodes
    async def test_cancel(self, store: Store) -> None:
        parent, bystander = await submit(store, new("parent"), new("bystander", priority=60))
        (given,) = await claim(store)
        (child,) = await submit(store, new("child", parent_id=parent, root_id=parent))
        (grandchild,) = await submit(store, new("grandchild", parent_id=child, root_id=parent))
        gone = await store.tasks.cancel(parent, "enough", now=after(1))
        assert gone.applied and [(end.task_id, end.node_id) for end in gone.stopped] == [(parent, "n1")]
        assert {end.task_id for end in gone.ended} == {parent, child, grandchild}
        assert store.tasks.get(grandchild).status == "cancelled"
        assert store.tasks.get(parent).error_message == "enough"
        assert not (await settle(store, given)).applied
        assert not (await store.tasks.cancel(parent, None, now=NOW)).applied
        assert kinds(store, parent).count("task_cancelled") == 1
        assert [each.task.task_id for each in await claim(store, free=5)] == [bystander]
        with pytest.raises(TaskNotFoundError):
            await store.tasks.cancel("nobody", None, now=NOW)
        check_counts(store, 4)

    @on_nodes
    async def test_prune_keeps_what_had_ended_before_its_dependents_came(self, store: Store) -> None:
        (done,) = await submit(store, new())
        await settle(store, (await claim(store))[0], output={"x": 1})
        (waits,) = await submit(store, new(dependencies=(done,)))
        assert store.tasks.get(waits).dependencies == (done,)
        assert (await store.prune(after(50)))["tasks"] == 0 and store.tasks.get(done).result() == {"x": 1}
        await settle(store, (await claim(store))[0])
        assert (await store.prune(after(50)))["tasks"] == 2

    @on_nodes
    async def test_prune_keeps_what_is_still_needed(self, store: Store) -> None:
        done, needed, fresh = new("done", idempotency_key="k", agent="a1"), new("needed"), new("fresh", priority=60)
        waits = new("waits", dependencies=(needed.task_id,), not_before=after(9999))
        await submit(store, done, needed, fresh, waits)
        for given in await claim(store, 2, "", "agent:a1"):
            await store.journal.record(f"task:{given.task.task_id}", "s", 1, now=NOW, fence=fence(given))
            await settle(store, given)
        await settle(store, (await claim(store))[0], now=after(100))
        assert (await store.prune(after(50)))["tasks"] == 1
        kept = await store.tasks.find([done.task_id, needed.task_id, fresh.task_id])
        assert set(kept) == {needed.task_id, fresh.task_id}
        assert store.journal.load(f"task:{done.task_id}") == {}
        assert store.journal.load(f"task:{needed.task_id}") != {}
        (again,) = await submit(store, new("done", idempotency_key="k"))
        assert again != done.task_id
        check_counts(store, 4)


def _check_cause(store: Store, task_id: str, cause: str, status: str, root: str) -> None:
    task = store.tasks.get(task_id)
    assert task.error_details == {"dependency_id": cause, "dependency_status": status, "root_id": root}
    with pytest.raises(DependencyFailedError) as caught:
        task.result()
    assert (caught.value.dependency_id, caught.value.root_id) == (cause, root)
    assert kinds(store, task_id).count("task_failed") == 1
