"""What happens when: retries, starvation, time-outs, leases, to the tick, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, RetryPolicy, Task, TaskStatus
from shoal.kernel.ports import Node
from shoal.kernel.room import Room, Slot
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.facts import all_events, check_story
from tests.support.runtimes import running

MEMORY = "sqlite://:memory:"


# -- retries


@pytest.mark.spec("R15")
@pytest.mark.parametrize("seed", range(5))
def test_two_retries_are_three_attempts_with_growing_waits(seed: int) -> None:
    starts: list[float] = []

    async def main(clock: VirtualClock) -> None:
        async def fails(task: Task) -> None:
            starts.append(clock.monotonic())
            raise ValueError(f"attempt {task.attempt}")

        async with running(MEMORY, {"one": fails}, clock=clock, poll_seconds=60) as runtime:
            task_id = await runtime.submit_task("x", max_retries=2)
            task = await runtime.wait_for_task(task_id)
            assert (task.status, task.attempt, task.retry_count) == (TaskStatus.FAILED, 3, 2)
            assert (task.error_type, task.error_message) == ("ValueError", "attempt 3")
            assert len(starts) == 3
            assert 0.45 <= starts[1] - starts[0] <= 0.55
            assert 0.9 <= starts[2] - starts[1] <= 1.1
            assert len(runtime.query_events("task_retrying", task_id=task_id)) == 2
            check_story([task], all_events(runtime))

    run_virtual(main, seed=seed)


@pytest.mark.spec("R15")
def test_a_task_that_fails_once_completes_with_one_retry() -> None:
    async def main(clock: VirtualClock) -> None:
        async def fails_once(task: Task) -> int:
            if task.retry_count == 0:
                raise ValueError("the first time")
            return task.attempt

        async with running(MEMORY, {"one": fails_once}, clock=clock) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("x", max_retries=2))
            assert (task.status, task.retry_count, task.output_data) == (TaskStatus.COMPLETED, 1, 2)
            assert (task.error_type, task.error_message) == (None, None)

    run_virtual(main)


def test_waits_grow_to_their_maximum_and_some_errors_are_not_retried() -> None:
    starts: list[float] = []

    async def main(clock: VirtualClock) -> None:
        async def fails(task: Task) -> None:
            starts.append(clock.monotonic())
            raise KeyError("x") if task.name == "key" else ConnectionResetError("x")

        policy = RetryPolicy(
            max_retries=5, initial_seconds=1, factor=10, max_seconds=30, jitter=0, retry_on=("OSError",)
        )
        async with running(MEMORY, {"one": fails}, clock=clock, poll_seconds=60) as runtime:
            await runtime.wait_for_task(await runtime.submit_task("os", retry=policy))
            waits = [round(later - earlier, 3) for earlier, later in itertools.pairwise(starts)]
            assert waits == [1, 10, 30, 30, 30]
            task = await runtime.wait_for_task(await runtime.submit_task("key", retry=policy))
            assert (task.status, task.attempt) == (TaskStatus.FAILED, 1)

    run_virtual(main)


def test_a_retried_task_keeps_its_place() -> None:
    order: list[str] = []

    async def main(clock: VirtualClock) -> None:
        async def work(task: Task) -> None:
            order.append(task.name)
            await clock.sleep(1)
            if task.name == "first" and task.retry_count == 0:
                raise ValueError("again")

        async with running(MEMORY, {"one": work}, clock=clock, poll_seconds=60) as runtime:
            await runtime.pause_queue()
            names = ["first", "second", "third", "fourth"]
            ids = [await runtime.submit_task(name, max_retries=1) for name in names]
            await runtime.resume_queue()
            await runtime.wait_for_tasks(ids)
            assert order == ["first", "second", "first", "third", "fourth"]

    run_virtual(main)


# -- starvation


async def stream(runtime: AgentRuntime, clock: VirtualClock, **target: Any) -> None:
    """Keep ten tasks of priority 0 waiting, for ever."""
    name = f"urgent {target}"
    while True:
        for _ in range(10 - len(runtime.list_tasks("pending", limit=1000, name=name))):
            await runtime.submit_task(name, priority=0, **target)
        await clock.sleep(1)


@pytest.mark.spec("R10")
def test_under_an_endless_stream_of_urgent_tasks_a_lesser_one_starts_after_all() -> None:
    async def main(clock: VirtualClock) -> None:
        async def work(task: Task) -> None:
            await clock.sleep(7)

        async with running(MEMORY, {"one": work}, clock=clock) as runtime:
            streaming = asyncio.create_task(stream(runtime, clock))
            await clock.sleep(20)
            ready = clock.now()
            lesser = [await runtime.submit_task(f"lesser {n}", priority=100) for n in range(2)]
            for task_id in lesser:
                await runtime.wait_for_task(task_id)
            streaming.cancel()
            first, second = [runtime.get_task_status(task_id).started_at for task_id in lesser]
            assert first is not None and second is not None
            assert first - ready > timedelta(seconds=300), "until then the urgent ones come first"
            starts = [e.timestamp for e in runtime.query_events("task_started", limit=10_000) if e.timestamp <= second]
            since = [moment for moment in starts if ready + timedelta(seconds=300) < moment]
            assert sum(moment <= first for moment in since) <= 10, "by the tenth claim"
            assert sum(moment > first for moment in since) == 10, "and one in ten from then on"

    run_virtual(main)


@pytest.mark.spec("R10")
@pytest.mark.parametrize("agents", [2, 3, 5])
def test_a_task_for_one_agent_does_not_starve_behind_the_claims_of_others(agents: int) -> None:
    """The claims of agents that take turns fall on the same places for ever: each one's tenth must count."""

    async def main(clock: VirtualClock) -> None:
        async def work(task: Task) -> None:
            await clock.sleep(agents)

        async with running(MEMORY, clock=clock, poll_seconds=3600) as runtime:
            streams, lesser = [], []
            for n in range(agents):
                await runtime.register_agent(f"w{n}", work)
                await runtime.start_agent(f"w{n}")
                streams.append(asyncio.create_task(stream(runtime, clock, agent=f"w{n}")))
                await clock.sleep(1)
            ready = clock.now()
            lesser = [await runtime.submit_task("lesser", priority=100, agent=f"w{n}") for n in range(agents)]
            done = await runtime.wait_for_tasks(lesser, timeout_seconds=3000)
            for one in streams:
                one.cancel()
            for task in done:
                assert task.started_at is not None
                own = [
                    event
                    for event in runtime.query_events("task_started", agent_id=task.assigned_agent_id, limit=10_000)
                    if ready + timedelta(seconds=300) < event.timestamp <= task.started_at
                ]
                assert len(own) <= 10 + 1

    run_virtual(main)


# -- leases


@pytest.mark.spec("R49")
@pytest.mark.parametrize("lease", [2.0, 10.0, 60.0])
def test_the_work_of_a_node_that_fell_silent_is_done_by_another_within_its_lease_and_a_second(
    tmp_path: Path, lease: float
) -> None:
    async def main(clock: VirtualClock) -> None:
        async def work(task: Task) -> str:
            return "done"

        url = f"sqlite:///{tmp_path / 'shoal.db'}"
        async with running(url, clock=clock, lease_seconds=lease) as runtime:
            await clock.sleep(0.33)
            silent = Node(
                node_id="silent", runtime_id="silent", name="silent", host="elsewhere", pid=1, pid_started=1,
                started_at=clock.now(), lease_until=clock.now() + timedelta(seconds=lease),
            )  # fmt: skip
            await runtime.store.leases.join(silent, now=clock.now())
            task_id = await runtime.submit_task("x")
            (claim,) = await runtime.store.tasks.claim(
                "silent", Room([Slot(agent_id="its agent", targets=("",))]), now=clock.now()
            )
            assert claim.task.task_id == task_id
            await runtime.register_agent("one", work)
            await runtime.start_agent("one")
            began = clock.monotonic()
            task = await runtime.wait_for_task(task_id)
            assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 2)
            assert lease - 0.01 <= clock.monotonic() - began <= lease + 1

    run_virtual(main)


def test_a_node_that_stood_still_alone_goes_on_when_nobody_took_its_work(tmp_path: Path) -> None:
    """Its lease has ended, but it must not declare itself dead: its next heartbeat renews it."""

    async def main(clock: VirtualClock) -> None:
        async def work(task: Task) -> int:
            return task.attempt

        async with running(f"sqlite:///{tmp_path / 'shoal.db'}", {"one": work}, clock=clock) as runtime:
            assert (await runtime.wait_for_task(await runtime.submit_task("before"))).output_data == 1
            clock.start_at(clock.now() + timedelta(hours=1))  # it was frozen for an hour
            assert (await runtime.wait_for_task(await runtime.submit_task("after"))).output_data == 1
            await clock.sleep(60)
            assert (await runtime.wait_for_task(await runtime.submit_task("later"))).output_data == 1
            assert runtime.query_events("node_lost") == runtime.query_events("lease_lost") == []

    run_virtual(main)


# -- the end


def stubborn(release: asyncio.Event) -> Any:
    async def never_ends(task: Task) -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    return never_ends


async def start_it(runtime: AgentRuntime, clock: VirtualClock) -> str:
    task_id = await runtime.submit_task("x")
    while runtime.get_task_status(task_id).status is not TaskStatus.RUNNING:
        await clock.sleep(0.1)
    return task_id


@pytest.mark.parametrize("graceful", [True, False])
def test_code_that_swallows_its_cancellation_does_not_hold_up_a_stop(tmp_path: Path, graceful: bool) -> None:
    url = f"sqlite:///{tmp_path / 'shoal.db'}"

    async def main(clock: VirtualClock) -> None:
        release = asyncio.Event()
        runtime = AgentRuntime(store=url, clock=clock)
        await runtime.start()
        await runtime.register_agent("stubborn", stubborn(release))
        await runtime.start_agent("stubborn")
        task_id = await start_it(runtime, clock)
        began = clock.monotonic()
        await runtime.stop(graceful=graceful, timeout_seconds=3)
        assert clock.monotonic() - began <= (3 + 6 if graceful else 2)
        release.set()
        async with running(url, clock=clock) as runtime:
            assert runtime.get_task_status(task_id).status is TaskStatus.PENDING, "it is put back"

    run_virtual(main)


def test_the_task_of_a_stopped_agent_whose_code_does_not_end_is_done_by_another() -> None:
    async def main(clock: VirtualClock) -> None:
        release = asyncio.Event()

        async def done(task: Task) -> int:
            return task.attempt

        async with running(MEMORY, {"stubborn": stubborn(release)}, clock=clock) as runtime:
            task_id = await start_it(runtime, clock)
            await runtime.stop_agent("stubborn", timeout_seconds=1)
            await runtime.register_agent("other", done)
            await runtime.start_agent("other")
            assert (await runtime.wait_for_task(task_id, timeout_seconds=60)).output_data == 2
            release.set()
            await clock.sleep(1)
            check_story(runtime.list_tasks(), all_events(runtime))

    run_virtual(main)
