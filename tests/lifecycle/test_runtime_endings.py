"""Work that is ended from outside: time-outs and cancels, wherever the agent runs, in real time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Task, TaskStatus
from shoal.errors import TaskCancelledError, TaskTimeoutError
from tests.support.facts import all_events, check_story
from tests.support.runtimes import running, until

Run = Callable[..., Any]


async def sleeps(task: Task) -> str:
    if task.name == "long":
        await asyncio.sleep(30)
    return "next"


def sync_loop(task: Task) -> str:
    while task.name == "long":
        pass
    return "next"


async def loop_without_await(task: Task) -> str:
    while task.name == "long":
        pass
    return "next"


ENDLESS = {
    "inline": (sleeps, "inline"),
    "sync": (sync_loop, "inline"),
    "thread": (loop_without_await, "thread"),
    "process": (loop_without_await, "process"),
}


@pytest.mark.spec("R16")
def test_a_timeout_ends_the_attempt_wherever_it_runs_and_the_next_task_completes(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            for name, (source, isolation) in ENDLESS.items():
                await runtime.register_agent(name, source, isolation=isolation)  # type: ignore[arg-type]
                await runtime.start_agent(name)
            long = [await runtime.submit_task("long", timeout_seconds=1, agent=name) for name in ENDLESS]
            after = [await runtime.submit_task("next", agent=name) for name in ENDLESS]
            for task in await runtime.wait_for_tasks(long, timeout_seconds=10):
                assert task.status is TaskStatus.FAILED and task.completed_at is not None
                with pytest.raises(TaskTimeoutError, match="Task execution timeout") as found:
                    task.result()
                assert found.value.timeout_seconds == 1
                (event,) = runtime.query_events("task_timeout", task_id=task.task_id)
                (start,) = runtime.query_events("task_started", task_id=task.task_id)
                for moment in (event.timestamp, task.completed_at):
                    assert (
                        timedelta(seconds=0.5) <= moment - start.timestamp <= timedelta(seconds=2.5)
                    )  # a busy machine
            for task in await runtime.wait_for_tasks(after, timeout_seconds=20):
                assert (task.status, task.output_data) == (TaskStatus.COMPLETED, "next")
            check_story(runtime.list_tasks(), all_events(runtime))

    run(main)


async def holds_the_loop(task: Task) -> str:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        sum(range(1000))
    await asyncio.sleep(0)
    return "too late"


class SecondNode:
    """A node on the same file in a thread of its own, which would take over whatever loses its lease."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._end = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        async with running(self._url, {"other": sleeps}, lease_seconds=1.5, poll_seconds=0.2):
            while not self._end.is_set():
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        self._end.set()
        self.thread.join()


@pytest.mark.spec("R16")
def test_a_blocked_loop_is_told_of_and_harms_nobody_else(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, lease_seconds=1.5, poll_seconds=0.2) as runtime:
            await runtime.register_agent("blocks", holds_the_loop)
            await runtime.register_agent("process", sleeps, isolation="process")
            for name in ("blocks", "process"):
                await runtime.start_agent(name)
            beside = await runtime.submit_task("quick", agent="process")
            blocking = await runtime.submit_task("x", timeout_seconds=1, agent="blocks")
            task = await runtime.wait_for_task(blocking, timeout_seconds=10)
            assert task.status is TaskStatus.FAILED and task.error_type == "TaskTimeoutError"
            (start,) = runtime.query_events("task_started", task_id=blocking)
            await until(lambda: runtime.query_events("loop_blocked"))  # told when the loop can write again
            (told,) = runtime.query_events("loop_blocked")
            assert told.timestamp - start.timestamp <= timedelta(seconds=1.5)
            assert "holds_the_loop" in str(told.details["stack"])
            assert "thread" in str(told.details["advice"]) and "process" in str(told.details["advice"])
            (timeout,) = runtime.query_events("task_timeout", task_id=blocking)
            late = timeout.timestamp - start.timestamp
            assert timedelta(seconds=3) <= late <= timedelta(seconds=4), "it takes effect at the next await"
            assert (await runtime.wait_for_task(beside)).status is TaskStatus.COMPLETED
            assert (await runtime.wait_for_task(await runtime.submit_task("again", agent="process"))).attempt == 1
            assert runtime.query_events("node_lost") == runtime.query_events("lease_lost") == []
            check_story(runtime.list_tasks(), all_events(runtime))

    other = SecondNode(store_url)
    other.thread.start()
    try:
        run(main)
    finally:
        other.stop()


# -- cancel


class Ticks:
    """A file to which running code writes; when it stops growing, the code has stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def number(self) -> int:
        return self.path.stat().st_size


def tick(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND)  # no object: the end may come before anything would close it
    os.write(file, b".")
    os.close(file)


async def ticks_politely(task: Task) -> None:
    while True:
        tick(str(task.input_data["path"]))
        await asyncio.sleep(0.001)


async def ticks_without_await(task: Task) -> None:
    while True:
        tick(str(task.input_data["path"]))


def ticks_in_a_thread(task: Task) -> None:
    while True:
        tick(str(task.input_data["path"]))


TICKING = {
    "inline": (ticks_politely, "inline"),
    "sync": (ticks_in_a_thread, "inline"),
    "thread": (ticks_without_await, "thread"),
    "process": (ticks_without_await, "process"),
}


async def cancelled_in_time(runtime: AgentRuntime, name: str, ticks: Ticks) -> None:
    task_id = await runtime.submit_task("x", {"path": str(ticks.path)}, agent=name)
    await until(lambda: ticks.number > 3)
    began = time.monotonic()
    assert await runtime.cancel_task(task_id, "enough") is True
    took = time.monotonic() - began
    assert took <= 5.5, f"{name}: {took:.2f} s"
    number = ticks.number
    task = runtime.get_task_status(task_id)
    assert (task.status, task.error_message) == (TaskStatus.CANCELLED, "enough")
    with pytest.raises(TaskCancelledError):
        task.result()
    await asyncio.sleep(0.3)
    assert ticks.number == number, f"{name}: it still runs after cancel_task has returned"
    assert await runtime.cancel_task(task_id) is False


@pytest.mark.spec("R17")
def test_a_running_task_ends_when_it_is_cancelled_wherever_it_runs(tmp_path: Path, store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            for name, (source, isolation) in TICKING.items():
                await runtime.register_agent(name, source, isolation=isolation)  # type: ignore[arg-type]
                await runtime.start_agent(name)
            await asyncio.gather(*(cancelled_in_time(runtime, name, Ticks(tmp_path / name)) for name in TICKING))
            assert {task.attempt for task in runtime.list_tasks()} == {1}
            check_story(runtime.list_tasks(), all_events(runtime))

    run(main)


@pytest.mark.spec("R17")
def test_a_pending_task_never_starts_and_an_ended_one_stays_as_it_is(store_url: str, run: Run) -> None:
    async def main() -> None:
        executed: list[str] = []

        async def note(task: Task) -> None:
            executed.append(task.name)

        async with running(store_url) as runtime:
            pending = await runtime.submit_task("pending")
            assert await runtime.cancel_task(pending) is True
            await runtime.register_agent("one", note)
            await runtime.start_agent("one")
            ended = await runtime.submit_task("ended")
            done = await runtime.wait_for_task(ended)
            assert await runtime.cancel_task(ended) is False
            assert runtime.get_task_status(ended) == done
            assert runtime.get_task_status(pending).status is TaskStatus.CANCELLED
            assert executed == ["ended"]

    run(main)


@pytest.mark.spec("R17")
def test_a_task_cancelled_between_its_claim_and_its_start_is_not_executed(store_url: str, run: Run) -> None:
    async def main() -> None:
        executed: list[str] = []

        async def note(task: Task) -> None:
            executed.append(task.task_id)

        async with running(store_url, {"one": note}, poll_seconds=60) as runtime:
            claimed = 0
            for _ in range(200):
                await runtime.pause_queue()
                task_id = await runtime.submit_task("x")
                await runtime.resume_queue()  # it has asked for the claim when it returns, and not yet got it
                assert await runtime.cancel_task(task_id) is True
                claimed += len(runtime.query_events("task_started", task_id=task_id))
            assert claimed == 200, "each was claimed before it was cancelled"
            assert executed == []
            check_story(runtime.list_tasks(limit=1000), all_events(runtime))
            assert (await runtime.wait_for_task(await runtime.submit_task("after"))).status is TaskStatus.COMPLETED

    run(main)


@pytest.mark.spec("R17")
def test_children_are_cancelled_with_their_parent(store_url: str, run: Run) -> None:
    async def main() -> None:
        async def family(task: Task, context: Any) -> None:
            depth = int(task.input_data["depth"])
            if depth:
                await context.wait_for_task(await context.submit_task("child", {"depth": depth - 1}))
            await asyncio.sleep(60)

        async with running(store_url, {"one": family}) as runtime:
            parent = await runtime.submit_task("parent", {"depth": 3})
            await until(lambda: runtime.get_queue_status()["running_count"] == 4)
            assert await runtime.cancel_task(parent) is True
            assert {task.status for task in runtime.list_tasks()} == {TaskStatus.CANCELLED}
            with contextlib.suppress(LookupError):
                assert not runtime.get_agent_status("one").task_ids

    run(main)
