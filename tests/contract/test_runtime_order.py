"""Who is served first, who waits for whom, and what becomes of those whose dependency failed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from shoal import AgentRuntime, Task, TaskSpec, TaskStatus
from shoal.errors import CyclicDependencyError, DependencyFailedError, TaskNotFoundError
from tests.support.runtimes import UNLIMITED, queue_state, running

Run = Callable[..., Any]
DEEP = 10_000


def recorder(order: list[str]) -> Any:
    async def record(task: Task) -> str:
        order.append(task.name)
        if task.input_data.get("fails"):
            raise ValueError("as asked")
        return task.name

    return record


@pytest.mark.spec("R9")
def test_tasks_complete_by_priority_then_by_submission(url: str, run: Run) -> None:
    async def main() -> None:
        chance = random.Random(9)
        order: list[str] = []
        async with running(url, {"one": recorder(order)}) as runtime:
            await runtime.pause_queue()
            priorities = [chance.randint(0, 100) for _ in range(100)]
            ids = [await runtime.submit_task(str(n), priority=p) for n, p in enumerate(priorities)]
            began = time.monotonic()
            await runtime.resume_queue()
            done = await runtime.wait_for_tasks(ids)
            assert time.monotonic() - began < 10  # ten times the second that is measured in the benchmarks
            expected = sorted(range(100), key=lambda n: (priorities[n], n))
            assert order == [str(n) for n in expected]
            by_end = sorted(done, key=lambda task: (task.completed_at, expected.index(int(task.name))))
            assert [(t.priority, int(t.name)) for t in by_end] == [(priorities[n], n) for n in expected]

    run(main)


@pytest.mark.spec("R11")
def test_unknown_and_circular_dependencies_are_refused_and_leave_no_trace(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            before = queue_state(runtime)
            with pytest.raises(TaskNotFoundError) as unknown:
                await runtime.submit_task("a", dependencies=["no such task"])
            with pytest.raises(TaskNotFoundError):
                await runtime.submit_tasks([TaskSpec(name="good"), TaskSpec(name="a", dependencies=["no such task"])])
            with pytest.raises(CyclicDependencyError) as itself:
                await runtime.submit_tasks([TaskSpec(name="good"), TaskSpec(name="a", key="a", dependencies=["a"])])
            ring = [TaskSpec(name=key, key=key, dependencies=[after]) for key, after in pairwise("abcdea")]
            with pytest.raises(CyclicDependencyError) as five:
                await runtime.submit_tasks([TaskSpec(name="good"), *ring])
            assert all(isinstance(found.value, ValueError) for found in (unknown, itself, five))
            assert "a -> a" in str(itself.value)
            assert "a -> b -> c -> d -> e -> a" in str(five.value)
            assert queue_state(runtime) == before

    run(main)


@pytest.mark.spec("R11")
def test_a_diamond_and_a_large_graph_run_in_topological_order_each_once(url: str, run: Run) -> None:
    async def main() -> None:
        chance = random.Random(11)
        order: list[str] = []
        diamond = {"top": [], "left": ["top"], "right": ["top"], "bottom": ["left", "right"]}
        graph = {f"n{n}": [f"n{m}" for m in chance.sample(range(n), min(n, chance.randint(0, 4)))] for n in range(50)}
        names = list(graph)
        chance.shuffle(names)  # submitted in any order: inside a batch a task may wait for a later one
        async with running(url, {f"w{n}": recorder(order) for n in range(4)}) as runtime:
            specs = [TaskSpec(name=k, key=k, dependencies=waits) for k, waits in diamond.items()]
            specs += [TaskSpec(name=key, key=key, dependencies=graph[key]) for key in names]
            done = await runtime.wait_for_tasks(await runtime.submit_tasks(specs))
            assert {task.status for task in done} == {TaskStatus.COMPLETED}
            assert sorted(order) == sorted([*diamond, *graph])
            by_name = {task.name: task for task in done}
            for name, waits in {**diamond, **graph}.items():
                for other in waits:
                    assert order.index(other) < order.index(name)
                    assert by_name[other].completed_at <= by_name[name].started_at  # type: ignore[operator]

    run(main)


async def doomed(runtime: AgentRuntime, how: str) -> list[str]:
    """Submit root <- a <- b, root <- c ("run") <- d, and end the root as *how*."""
    specs = [
        TaskSpec(name="root", key="root", input_data={"fails": True}),
        TaskSpec(name="a", key="a", dependencies=["root"]),
        TaskSpec(name="b", key="b", dependencies=["a"]),
        TaskSpec(name="c", key="c", dependencies=["root"], on_dependency_failure="run"),
        TaskSpec(name="d", key="d", dependencies=["c"]),
    ]
    ids = await runtime.submit_tasks(specs)
    if how == "cancelled":
        assert await runtime.cancel_task(ids[0], "not needed")
    await runtime.resume_queue()
    return ids


@pytest.mark.spec("R12")
@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_dependents_of_a_failed_task_fail_with_cause_and_root_or_run_when_asked(url: str, run: Run, how: str) -> None:
    async def main() -> None:
        order: list[str] = []
        async with running(url, {"one": recorder(order)}) as runtime:
            await runtime.pause_queue()
            root, a, b, c, d = await doomed(runtime, how)
            tasks = {task.task_id: task for task in await runtime.wait_for_tasks([root, a, b, c, d])}
            assert tasks[root].status == how
            assert [tasks[i].status for i in (a, b, c, d)] == ["failed", "failed", "completed", "completed"]
            for task_id, cause, status in ((a, root, how), (b, a, "failed")):
                with pytest.raises(DependencyFailedError) as found:
                    tasks[task_id].result()
                error = found.value
                assert (error.dependency_id, error.dependency_status, error.root_id) == (cause, status, root)
                assert cause in str(error) and root in str(error)
                (event,) = runtime.query_events("task_failed", task_id=task_id)
                assert event.details["root_id"] == root
            assert [name for name in order if name != "root"] == ["c", "d"]
            late = await runtime.submit_task("late", dependencies=[b])
            assert runtime.get_task_status(late).status is TaskStatus.FAILED
            with pytest.raises(DependencyFailedError) as found:
                runtime.get_task_status(late).result()
            assert (found.value.dependency_id, found.value.root_id) == (b, root)

    run(main)


def chain(fails: bool) -> list[TaskSpec]:
    head = TaskSpec(name="0", key="0", input_data={"fails": fails})
    return [head, *(TaskSpec(name=str(n), key=str(n), dependencies=[str(n - 1)]) for n in range(1, DEEP))]


@pytest.mark.sqlite  # on PostgreSQL the store suite does it
@pytest.mark.spec("R12")
@pytest.mark.parametrize("fails", [False, True])
def test_a_very_deep_chain_completes_or_fails_with_its_head(url: str, run: Run, fails: bool) -> None:
    async def main() -> None:
        order: list[str] = []
        async with running(url, {"one": recorder(order)}, limits=UNLIMITED, durability="normal") as runtime:
            ids = await runtime.submit_tasks(chain(fails))
            last = await runtime.wait_for_task(ids[-1])
            counts = runtime.get_queue_status()
            if fails:
                assert order == ["0"]
                with pytest.raises(DependencyFailedError) as found:
                    last.result()
                assert (found.value.dependency_id, found.value.root_id) == (ids[-2], ids[0])
                assert counts["failed_count"] == DEEP
            else:
                assert order == [str(n) for n in range(DEEP)]
                assert counts["completed_count"] == DEEP
            assert (counts["pending_count"], counts["ready_count"], counts["blocked_count"]) == (0, 0, 0)

    run(main)
