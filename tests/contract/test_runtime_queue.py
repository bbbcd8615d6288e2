"""The queue: how much it holds, how fast it stays, what is submitted once, where a task stands."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoal import ResourceLimit, Task, TaskSpec, TaskStatus
from shoal.errors import IdempotencyConflictError, QueueFullError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import UNLIMITED, count, queue_state, running, until

Run = Callable[..., Any]
MANY = 100_000
FIRST = 500
GUARD = 10  # what the figures of a benchmark are multiplied by in a test


async def nothing(task: Task) -> None:
    return None


async def timed(calls: list[Any]) -> list[float]:
    """Await the calls one after the other and return what each took, in seconds, sorted."""
    took = []
    for call in calls:
        began = time.perf_counter()
        await call
        took.append(time.perf_counter() - began)
    return sorted(took)


@pytest.mark.spec("R13")
def test_a_hundred_thousand_waiting_tasks_do_not_slow_submits_and_claims(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"one": nothing}, limits=UNLIMITED) as runtime:

            async def submits() -> list[float]:
                return await timed([runtime.submit_task("x", {"n": n}) for n in range(FIRST)])

            async def executed() -> float:
                """Let FIRST tasks be claimed and executed; return the seconds that took."""
                target = count(runtime, "completed") + FIRST
                began = time.perf_counter()
                await runtime.resume_queue()
                await until(lambda: count(runtime, "completed") >= target)
                took = time.perf_counter() - began
                await runtime.pause_queue()
                await until(lambda: count(runtime, "running") == 0)
                return took

            await runtime.pause_queue()
            first_submits, first_claims = await submits(), await executed()
            for _ in range(MANY // 1000):
                await runtime.submit_tasks([TaskSpec(name="x", input_data={"n": n}) for n in range(1000)])
            last_submits, last_claims = await submits(), await executed()
            assert count(runtime, "pending") > MANY - 2 * FIRST
            assert last_submits[FIRST // 2] <= 1.5 * GUARD * first_submits[FIRST // 2]
            assert last_claims <= 1.5 * GUARD * first_claims
            assert last_submits[int(FIRST * 0.95)] < 0.005 * GUARD

    run(main)


@pytest.mark.spec("R14")
def test_a_full_queue_refuses_and_takes_again_when_one_starts(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, limits=ResourceLimit(max_task_queue_size=3)) as runtime:
            release = asyncio.Event()

            async def held(task: Task) -> None:
                await release.wait()

            ids = [await runtime.submit_task(str(n)) for n in range(2)]
            before = runtime.get_queue_status()
            with pytest.raises(QueueFullError) as batch:
                await runtime.submit_tasks([TaskSpec(name="a"), TaskSpec(name="b")])
            assert runtime.get_queue_status() == before, "a batch is stored whole or not at all"
            ids += await runtime.submit_tasks([TaskSpec(name="2")])
            with pytest.raises(QueueFullError) as found:
                await runtime.submit_task("one too many")
            for error in (batch.value, found.value):
                assert (error.max_size, error.queue_name, str(error)) == (3, "tasks", "Task queue at capacity")
                assert "raise ResourceLimit.max_task_queue_size" in "".join(error.__notes__)
            assert [event.details["max_size"] for event in runtime.query_events("queue_full")] == [3, 3]
            assert count(runtime, "pending") == 3
            await runtime.register_agent("one", held)
            await runtime.start_agent("one")
            await until(lambda: count(runtime, "running") == 1)
            ids.append(await runtime.submit_task("now there is room"))
            with pytest.raises(QueueFullError):
                await runtime.submit_task("full again")
            release.set()
            done = await runtime.wait_for_tasks(ids)
            assert [task.status for task in done] == [TaskStatus.COMPLETED] * 4
            assert len(runtime.list_tasks(limit=100)) == 4

    run(main)


@pytest.mark.spec("R18")
def test_fifty_submits_with_one_key_are_one_task(url: str, run: Run) -> None:
    async def main() -> None:
        executed: list[str] = []

        async def note(task: Task) -> None:
            executed.append(task.task_id)

        async with running(url, {"a": note, "b": note}) as runtime:
            submits = [runtime.submit_task("pay", {"sum": 5}, idempotency_key="order 7") for _ in range(50)]
            ids = set(await asyncio.gather(*submits))
            assert len(ids) == 1
            (task_id,) = ids
            await runtime.wait_for_task(task_id)
            assert await runtime.submit_task("pay", {"sum": 5}, idempotency_key="order 7") == task_id
            before = queue_state(runtime)
            others: list[tuple[str, dict[str, object]]] = [("pay", {"sum": 6}), ("refund", {"sum": 5})]
            for name, data in others:
                with pytest.raises(IdempotencyConflictError) as found:
                    await runtime.submit_task(name, data, idempotency_key="order 7")
                assert found.value.task_id == task_id and "order 7" in str(found.value)
                with pytest.raises(IdempotencyConflictError):
                    await runtime.submit_tasks(
                        [TaskSpec(name="x"), TaskSpec(name=name, input_data=data, idempotency_key="order 7")]
                    )
            assert queue_state(runtime) == before
            assert executed == [task_id]
            assert len(runtime.list_tasks()) == 1
            assert len(runtime.query_events("task_enqueued")) == 1

    run(main)


@pytest.mark.spec("R18")
def test_not_before_is_never_early_and_at_most_one_poll_late(url: str, run: Run) -> None:
    poll = 0.5

    async def main() -> None:
        async with running(url, {"one": nothing}, options={"max_concurrent_tasks": 20}, poll_seconds=poll) as runtime:
            now = datetime.now(UTC)
            moments = [now + timedelta(seconds=0.05 * n) for n in range(1, 20)]
            ids = [await runtime.submit_task("x", not_before=moment) for moment in moments]
            ids.append(await runtime.submit_task("x", delay_seconds=0.3))
            ids.append(
                await runtime.submit_task(
                    "x", not_before=(now + timedelta(seconds=0.4)).astimezone().replace(tzinfo=None)
                )
            )
            for task in await runtime.wait_for_tasks(ids):
                assert task.not_before is not None and task.started_at is not None
                late = (task.started_at - task.not_before).total_seconds()
                assert 0 <= late <= poll + 0.25, (
                    f"{late} s late"
                )  # a quarter of a second to commit it on a busy machine

    run(main)


@pytest.mark.sqlite
def test_not_before_to_the_tick(url: str) -> None:
    """The same in virtual time, where a busy machine takes no time."""

    async def main(clock: VirtualClock) -> None:
        async with running(url, {"one": nothing}, clock=clock, poll_seconds=1) as runtime:
            ids = [await runtime.submit_task("x", delay_seconds=0.37 * n) for n in range(1, 40)]
            for task in await runtime.wait_for_tasks(ids):
                assert task.not_before is not None and task.started_at is not None
                assert timedelta() <= task.started_at - task.not_before <= timedelta(seconds=1)

    run_virtual(main)


@pytest.mark.spec("R22")
def test_the_position_is_exact_and_names_what_a_task_waits_for(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            release = asyncio.Event()

            async def held(task: Task) -> None:
                await release.wait()

            agent = await runtime.register_agent("one", held)
            await runtime.submit_task("running", priority=0)
            priorities = [50, 10, 50, 90, 10]
            ids = [await runtime.submit_task(str(n), priority=p) for n, p in enumerate(priorities)]
            assert {runtime.get_queue_position(task_id).reason for task_id in ids} == {"no_agent"}
            await runtime.start_agent("one")
            await until(lambda: count(runtime, "running") == 1)
            order = sorted(range(5), key=lambda n: (priorities[n], n))
            for place, n in enumerate(order):
                found = runtime.get_queue_position(ids[n])
                assert (found.position, found.ahead, found.reason) == (place + 1, place, "ready")
            blocked = await runtime.submit_task("blocked", priority=0, dependencies=[ids[3]])
            found = runtime.get_queue_position(blocked)
            assert (found.reason, found.blocked_by) == ("dependencies", (ids[3],))
            later = await runtime.submit_task("later", priority=0, delay_seconds=60)
            assert runtime.get_queue_position(later).reason == "not_before"
            nobody = await runtime.submit_task("nobody", priority=0, capability="flying")
            assert runtime.get_queue_position(nobody).reason == "no_agent"
            await runtime.pause_queue()
            assert runtime.get_queue_position(ids[0]).reason == "queue_paused"
            await runtime.resume_queue()
            await runtime.pause_agent(agent)
            assert runtime.get_queue_position(ids[0]).reason == "agent_paused"
            await runtime.resume_agent(agent)
            with pytest.raises(ValueError, match="running"):
                runtime.get_queue_position(runtime.list_tasks("running")[0].task_id)
            assert runtime.get_queue_position(ids[order[0]]).ahead == 1, "the one for nobody is ready and comes first"
            assert await runtime.cancel_task(nobody) and await runtime.cancel_task(ids[order[0]])
            assert runtime.get_queue_position(ids[order[1]]).position == 1
            release.set()
            await runtime.wait_for_tasks([ids[n] for n in order[1:]])

    run(main)


@pytest.mark.sqlite
@pytest.mark.spec("R22")
def test_ahead_of_a_task_for_one_agent_is_only_what_that_agent_may_take(url: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async def two_seconds(task: Task) -> None:
            await clock.sleep(2)

        async with running(url, {"busy": two_seconds, "quiet": two_seconds}, clock=clock) as runtime:
            first = [await runtime.submit_task(str(n), agent=name) for n in range(2) for name in ("busy", "quiet")]
            await runtime.wait_for_tasks(first)
            for _ in range(50):
                await runtime.submit_task("x", agent="busy", priority=0)
            await clock.sleep(0.1)
            ids = [await runtime.submit_task("y", agent="quiet", priority=90) for _ in range(3)]
            await clock.sleep(0.1)
            assert runtime.get_queue_position(ids[1]).position == 1
            for place, task_id in enumerate(ids[1:], start=1):
                eta = runtime.get_queue_position(task_id).eta_seconds
                assert eta is not None and abs(eta - 2 * place) <= 0.5
            for_all = await runtime.submit_task("z", priority=10)
            assert runtime.get_queue_position(for_all).ahead == 49
            assert runtime.get_queue_position(ids[1]).ahead == 1, "quiet may take that one, too"
            await runtime.stop(graceful=False)

    run_virtual(main)


@pytest.mark.spec("R22")
def test_progress_is_stored_while_a_task_runs(url: str, run: Run) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def half(task: Task, context: Any) -> None:
            await context.progress(0.5, "half of it")
            await context.progress(0.6, "too soon after the last one to be told")
            await release.wait()
            await context.progress(1, "all of it")

        async with running(url, {"one": half}) as runtime:
            task_id = await runtime.submit_task("x")
            await until(lambda: runtime.get_task_status(task_id).progress == 0.5)
            assert runtime.get_task_status(task_id).progress_note == "half of it"
            release.set()
            done = await runtime.wait_for_task(task_id)
            assert runtime.get_task_status(task_id).progress == 1.0
            assert runtime.get_task_status(task_id).progress_note == "all of it"
            assert done.status is TaskStatus.COMPLETED
            assert len(runtime.query_events("task_progress", task_id=task_id)) == 2

    run(main)


@pytest.mark.sqlite
@pytest.mark.spec("R22")
def test_the_eta_after_five_completions_is_right(url: str) -> None:
    """Twenty tasks of two seconds on five agents, in virtual time."""

    async def main(clock: VirtualClock) -> None:
        async def two_seconds(task: Task) -> None:
            await clock.sleep(2 + clock.random.uniform(-0.2, 0.2))

        async with running(url, {f"w{n}": two_seconds for n in range(5)}, clock=clock) as runtime:
            ids = [await runtime.submit_task(str(n)) for n in range(20)]
            assert runtime.get_queue_position(ids[19]).eta_seconds is None, "without history nobody knows"
            while count(runtime, "completed") < 5:
                await clock.sleep(0.05)
            now = clock.now()
            waiting = [task.task_id for task in runtime.list_tasks("pending")]
            etas = {task_id: runtime.get_queue_position(task_id).eta_seconds for task_id in waiting}
            assert len(etas) >= 10
            for task in await runtime.wait_for_tasks(ids):
                if task.task_id in etas:
                    assert task.started_at is not None
                    really = (task.started_at - now).total_seconds()
                    told = etas[task.task_id]
                    assert told is not None and abs(told - really) <= 0.25 * really + 0.5, (told, really)

    run_virtual(main)


@pytest.mark.spec("R22")
def test_a_paused_queue_starts_nothing(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"one": nothing}, poll_seconds=0.02) as runtime:
            await runtime.pause_queue()
            ids = [await runtime.submit_task(str(n)) for n in range(3)]
            await asyncio.sleep(0.2)  # ten polls: none of them may claim
            assert runtime.get_queue_status()["queue_paused"] is True
            assert Counter(runtime.get_task_status(i).status for i in ids) == {TaskStatus.PENDING: 3}
            await runtime.resume_queue()
            await runtime.wait_for_tasks(ids)
            assert runtime.get_queue_status()["queue_paused"] is False
            assert len(runtime.query_events("queue_paused")) == len(runtime.query_events("queue_resumed")) == 1

    run(main)


@pytest.mark.spec("R22")
def test_a_paused_queue_holds_over_a_restart(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.pause_queue()
            task_id = await runtime.submit_task("x")
        async with running(store_url, {"one": nothing}, poll_seconds=0.02) as runtime:
            await asyncio.sleep(0.2)
            assert runtime.get_queue_status()["queue_paused"] is True
            assert runtime.get_task_status(task_id).status is TaskStatus.PENDING
            await runtime.resume_queue()
            assert (await runtime.wait_for_task(task_id)).status is TaskStatus.COMPLETED

    run(main)
