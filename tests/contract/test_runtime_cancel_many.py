"""Several tasks cancelled in one intention: none begins because another ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import Task, TaskStatus
from shoal.errors import TaskNotFoundError
from tests.support.runtimes import running, until


async def forever(task: Task) -> None:
    await asyncio.Event().wait()


def test_waiting_ones_do_not_begin_when_the_running_one_ends(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:", {"worker": forever}) as runtime:
            ids = [await runtime.submit_task(f"t{n}") for n in range(20)]
            await until(runtime.tasks.executing)
            assert runtime.tasks.executing() == ids[:1]
            assert await runtime.tasks.cancel_many(ids, "enough") == [True] * 20
            assert {runtime.get_task_status(task_id).status for task_id in ids} == {TaskStatus.CANCELLED}
            assert [event.task_id for event in runtime.query_events("task_started")] == ids[:1]
            assert runtime.tasks.executing() == []
            assert await runtime.tasks.cancel_many(ids) == [False] * 20
            assert await runtime.tasks.cancel_many([]) == []

    run(main)


def test_what_depends_on_another_one_is_cancelled_and_does_not_fail(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:", {"worker": forever}) as runtime:
            first = await runtime.submit_task("first")
            second = await runtime.submit_task("second", dependencies=[first])
            third = await runtime.submit_task("third", dependencies=[second])
            outside = await runtime.submit_task("outside", dependencies=[third])
            await until(runtime.tasks.executing)
            assert await runtime.tasks.cancel_many([first, second, third]) == [True] * 3
            assert (await runtime.wait_for_task(outside)).error_type == "DependencyFailedError"

    run(main)


def test_one_that_is_not_there_keeps_all_from_being_cancelled(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with running("sqlite://:memory:") as runtime:
            task_id = await runtime.submit_task("t")
            with pytest.raises(TaskNotFoundError, match="'nope'"):
                await runtime.tasks.cancel_many([task_id, "nope"])
            assert runtime.get_task_status(task_id).status is TaskStatus.PENDING

    run(main)


def test_a_child_that_is_named_beside_its_parent_was_cancelled(run: Callable[..., Any]) -> None:
    children: list[str] = []

    async def parent(task: Task, context: Any) -> None:
        children.append(await context.submit_task("child", agent="nobody"))
        await asyncio.Event().wait()

    async def main() -> None:
        async with running("sqlite://:memory:", {"worker": parent}) as runtime:
            await runtime.register_agent("nobody", forever)
            task_id = await runtime.submit_task("parent", agent="worker")
            await until(lambda: children)
            assert await runtime.tasks.cancel_many([task_id, *children]) == [True, True]

    run(main)


def test_a_stop_does_not_wait_for_code_that_was_given_up(run: Callable[..., Any]) -> None:
    """It has had its grace: only what was not told to end has the time of the stop."""

    async def deaf(task: Task) -> None:
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with running("sqlite://:memory:", {"worker": deaf}, cancel_grace_seconds=0.3) as runtime:
            task_id = await runtime.submit_task("t", timeout_seconds=0.05)
            assert (await runtime.wait_for_task(task_id)).error_type == "TaskTimeoutError"
            before = loop.time()
        assert loop.time() - before < 10  # the time of a stop is 30 s
        ended.set()

    ended = asyncio.Event()
    run(main)
