"""Who executes a task, who waits for it, and that it is executed once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from shoal import Task, TaskSpec, TaskStatus
from shoal.errors import VersionConflictError, WaitTimeoutError
from shoal.kernel.ports import Fence, Outcome, Settlement
from shoal.kernel.room import Room, Slot
from tests.support.runtimes import running, until

Run = Callable[..., Any]


async def nothing(task: Task) -> None:
    return None


# -- once


@pytest.mark.spec("R19")
def test_changes_of_status_keep_what_a_task_waits_for(url: str, run: Run) -> None:
    async def main() -> None:
        async def once_more(task: Task) -> None:
            if task.retry_count == 0:
                raise ValueError("the first attempt fails")

        async with running(url, {"one": once_more}) as runtime:
            first, second, third = await runtime.submit_tasks(
                [
                    TaskSpec(name="first", key="first", max_retries=1),
                    TaskSpec(name="second", key="second", max_retries=1),
                    TaskSpec(name="third", max_retries=1, dependencies=["first", "second"]),
                ]
            )
            waits = (first, second)
            seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
            while not (task := runtime.get_task_status(third)).done:
                seen[task.status, task.dependencies] += 1
                await asyncio.sleep(0.001)
            assert {dependencies for _, dependencies in seen} == {waits}
            assert runtime.get_task_status(third).dependencies == waits
            assert [task.dependencies for task in runtime.list_tasks(name="third")] == [waits]
            late = await runtime.submit_task("late", dependencies=[third], max_retries=0)
            assert await runtime.cancel_task(late) is False or runtime.get_task_status(late).dependencies == (third,)
            assert runtime.get_task_status(late).dependencies == (third,)

    run(main)


@pytest.mark.spec("R19")
def test_a_second_settlement_has_no_effect(url: str, run: Run) -> None:
    async def main() -> None:
        fences: list[Fence] = []

        async with running(url) as runtime:

            async def note(task: Task) -> str:
                fences.append(Fence(task.task_id, runtime.node_id, task.attempt))
                return "first"

            agent_id = await runtime.register_agent("one", note)
            await runtime.start_agent(agent_id)
            task_id = await runtime.submit_task("x")
            done = await runtime.wait_for_task(task_id)
            before = runtime.store.events.last_id(), runtime.get_queue_status()
            for outcome in Outcome:
                again = Settlement(fence=fences[0], agent_id=agent_id, outcome=outcome, output="second")
                settled = await runtime.store.tasks.settle(again, now=done.created_at + timedelta(hours=1))
                assert not settled.applied
            assert runtime.get_task_status(task_id).output_data == "first"
            assert (runtime.store.events.last_id(), runtime.get_queue_status()) == before

    run(main)


@pytest.mark.spec("R19")
def test_eight_claimers_get_one_task_once(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            agents = [await runtime.register_agent(f"w{n}", nothing) for n in range(8)]
            for _ in range(20):
                task_id = await runtime.submit_task("x")
                now = runtime.get_task_status(task_id).created_at
                slots = [Slot(agent_id=agent_id, targets=("",)) for agent_id in agents]
                claims = [runtime.store.tasks.claim(runtime.node_id, Room([slot]), now=now) for slot in slots]
                given = [claim for found in await asyncio.gather(*claims) for claim in found]
                assert [claim.task.task_id for claim in given] == [task_id]
                assert runtime.get_task_status(task_id).attempt == 1

    run(main)


@pytest.mark.spec("R19")
def test_eight_nodes_on_one_file_execute_each_task_once(store_url: str, run: Run) -> None:
    async def main() -> None:
        executed: list[str] = []

        async def note(task: Task) -> None:
            executed.append(task.name)

        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(running(store_url, {f"w{n}": note})) for n in range(8)]
            names = [f"task {n}" for n in range(40)]
            for turn, name in enumerate(names):
                task_id = await nodes[turn % 8].submit_task(name)
                assert (await nodes[(turn + 3) % 8].wait_for_task(task_id)).attempt == 1
            assert sorted(executed) == sorted(names)
            assert len(nodes[0].query_events("task_started", limit=1000)) == len(names)

    run(main)


# -- targets


@pytest.mark.spec("R20")
def test_a_task_goes_to_its_agent_capability_or_group_or_to_any(url: str, run: Run) -> None:
    async def main() -> None:
        async def who(task: Task, context: Any) -> str:
            return str(context.name)

        async with running(url) as runtime:
            for name, capabilities, group in (("ann", ["Draw"], None), ("bob", [], "team"), ("cy", ["draw"], "team")):
                await runtime.register_agent(name, who, capabilities=capabilities, group=group)
                await runtime.start_agent(name)

            async def takers(**target: str) -> set[object]:
                ids = [await runtime.submit_task("x", **target) for _ in range(30)]  # type: ignore[arg-type]
                return {task.output_data for task in await runtime.wait_for_tasks(ids)}

            assert await takers(agent="bob") == {"bob"}
            assert await takers(agent=runtime.get_agent_status("cy").agent_id) == {"cy"}
            assert await takers(capability="DRAW") == {"ann", "cy"}
            assert await takers(group="team") == {"bob", "cy"}
            assert await takers() == {"ann", "bob", "cy"}

    run(main)


@pytest.mark.spec("R20")
def test_a_task_waits_for_its_own_children_on_an_agent_with_one_slot(url: str, run: Run) -> None:
    async def main() -> None:
        async def factorial(task: Task, context: Any) -> int:
            n = int(task.input_data["n"])
            if n == 0:
                return 1
            child = await context.submit_task("factorial", {"n": n - 1}, agent="one")
            return n * int((await context.wait_for_task(child)).result())

        async with running(url, {"one": factorial}) as runtime:
            ids = [await runtime.submit_task("factorial", {"n": 6}) for _ in range(3)]
            done = await runtime.wait_for_tasks(ids, timeout_seconds=30)
            assert [task.output_data for task in done] == [720] * 3
            children = [task for task in runtime.list_tasks() if task.parent_id is not None]
            assert len(children) == 18

    run(main)


# -- waits


class Gates:
    """An agent whose tasks end when they are told to, and as they are told to."""

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Event] = {}

    def gate(self, name: str) -> asyncio.Event:
        return self.open.setdefault(name, asyncio.Event())

    async def execute_task(self, task: Task) -> str:
        await self.gate(task.name).wait()
        if task.input_data.get("fails"):
            raise ValueError("as asked")
        return task.name


@pytest.mark.spec("R20")
def test_waits_for_one_all_any_or_a_failure(url: str, run: Run) -> None:
    async def main() -> None:
        gates = Gates()
        async with running(url, {"one": gates}, options={"max_concurrent_tasks": 9}) as runtime:
            a, b, c = [await runtime.submit_task(name, {"fails": name == "b"}) for name in "abc"]
            with pytest.raises(WaitTimeoutError) as late:
                await runtime.wait_for_task(a, timeout_seconds=0.05)
            assert late.value.pending == (a,) or list(late.value.pending) == [a]
            everything = asyncio.create_task(runtime.wait_for_tasks([a, b, c]))
            anything = asyncio.create_task(runtime.wait_for_tasks([a, b, c], return_when="any"))
            failure = asyncio.create_task(runtime.wait_for_tasks([a, b, c], return_when="failure"))
            gates.gate("c").set()
            assert [task.task_id for task in await anything] == [c]
            assert (await runtime.wait_for_task(c)).output_data == "c"
            assert not failure.done() and not everything.done()
            gates.gate("b").set()
            assert {task.task_id: task.status for task in await failure} == {c: "completed", b: "failed"}
            assert not everything.done()
            with pytest.raises(WaitTimeoutError) as late:
                await runtime.wait_for_tasks([c, a, b], timeout_seconds=0.05)
            assert list(late.value.pending) == [a]
            gates.gate("a").set()
            assert [task.task_id for task in await everything] == [a, b, c]
            assert [t.task_id for t in await runtime.wait_for_tasks([a, c], return_when="failure")] == [a, c]
            assert await runtime.wait_for_tasks([]) == []

    run(main)


@pytest.mark.spec("R20")
def test_as_completed_yields_tasks_as_they_end(url: str, run: Run) -> None:
    async def main() -> None:
        gates = Gates()
        async with running(url, {"one": gates}, options={"max_concurrent_tasks": 9}) as runtime:
            ids = {name: await runtime.submit_task(name) for name in "abcde"}
            gates.gate("d").set()
            await runtime.wait_for_task(ids["d"])
            seen = []
            follow = iter("bead")
            async for task in runtime.as_completed(list(ids.values())):
                seen.append(task.name)
                gates.gate(next(follow, "c")).set()
                if task.name == "a":
                    gates.gate("c").set()
            assert seen == ["d", "b", "e", "a", "c"]
            with pytest.raises(WaitTimeoutError) as late:
                stuck = await runtime.submit_task("stuck")
                async for _ in runtime.as_completed([stuck], timeout_seconds=0.05):
                    pass
            assert list(late.value.pending) == [stuck]
            gates.gate("stuck").set()

    run(main)


@pytest.mark.spec("R20")
def test_a_thousand_waiters_on_one_task(url: str, run: Run) -> None:
    async def main() -> None:
        gates = Gates()
        async with running(url, {"one": gates}) as runtime:
            task_id = await runtime.submit_task("a")
            waits = [asyncio.create_task(runtime.wait_for_task(task_id)) for _ in range(1000)]
            await asyncio.sleep(0)
            for wait in waits[::10]:
                wait.cancel()
            gates.gate("a").set()
            found = await asyncio.gather(*waits, return_exceptions=True)
            assert sum(isinstance(one, asyncio.CancelledError) for one in found) == 100
            assert Counter(one.output_data for one in found if isinstance(one, Task)) == {"a": 900}

    run(main)


# -- the shared store


@pytest.mark.spec("R42")
def test_a_hundred_tasks_update_one_key_a_thousand_times(url: str, run: Run) -> None:
    async def main() -> None:
        async def ten_times(task: Task, context: Any) -> None:
            for _ in range(10):
                await context.shared.update("counter", lambda value: value + 1, default=0)

        agents = {f"w{n}": ten_times for n in range(5)}
        async with running(url, agents, options={"max_concurrent_tasks": 4}) as runtime:
            ids = [await runtime.submit_task("x") for _ in range(100)]
            assert {task.status for task in await runtime.wait_for_tasks(ids)} == {TaskStatus.COMPLETED}
            entry = await runtime.shared.get_entry("counter")
            assert entry is not None and (entry.value, entry.version) == (1000, 1000)

    run(main)


@pytest.mark.spec("R42")
def test_a_conflict_names_both_versions(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            shared = runtime.shared
            for n in range(3):
                assert await shared.set("key", n) == n + 1
            for expected in (2, 0, 7):
                with pytest.raises(VersionConflictError) as found:
                    await shared.compare_and_set("key", "new", expected)
                assert (found.value.key, found.value.expected, found.value.actual) == ("key", expected, 3)
                assert str(expected) in str(found.value) and "3" in str(found.value)
                with pytest.raises(VersionConflictError):
                    await shared.delete("key", expected_version=expected)
            assert await shared.get("key") == 2
            with pytest.raises(VersionConflictError) as found:
                await shared.compare_and_set("nothing", 1, 4)
            assert (found.value.expected, found.value.actual) == (4, 0)
            assert await shared.compare_and_set("key", "new", 3) == 4

    run(main)


async def watched(writer: Any, watcher: Any) -> None:
    """See that changes by *writer* come to *watcher* within ten times the tenth of a second of the benchmark."""
    seen: list[Any] = []

    async def watch() -> None:
        async for change in watcher.shared.watch("a/"):
            seen.append((change.key, change.value, change.deleted))  # noqa: PERF401  seen while it goes on

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    await writer.shared.set("b/other", 0)
    for n in range(20):
        await writer.shared.set("a/key", n)
        await until(partial(seen.__contains__, ("a/key", n, False)), seconds=1.0)
    await writer.shared.delete("a/key")
    await until(lambda: seen and seen[-1][0] == "a/key" and seen[-1][2], seconds=1.0)
    assert all(key == "a/key" for key, _, _ in seen)
    watching.cancel()


@pytest.mark.spec("R42")
def test_a_watcher_hears_of_changes(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, poll_seconds=60) as runtime:
            await watched(runtime, runtime)

    run(main)


@pytest.mark.spec("R42")
def test_a_watcher_on_a_second_node_hears_of_changes(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, poll_seconds=60) as here, running(store_url, poll_seconds=60) as there:
            await watched(here, there)

    run(main)
