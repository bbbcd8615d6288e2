"""Events: each with its fact or not at all, in order, without gap or double; and getting them out."""

from __future__ import annotations

import asyncio
import csv
import errno
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime, Event, EventFilter, Severity, Task, TaskSpec, TaskStatus
from shoal.errors import StoreError
from shoal.kernel.event import Fact
from shoal.testing.clock import VirtualClock, run_virtual
from shoal.testing.faults import Faults
from tests.support.backend import store_at
from tests.support.facts import all_events, check_story
from tests.support.runtimes import UNLIMITED, running

Run = Callable[..., Any]
GUARD = 10  # what the figures of a benchmark are multiplied by in a test


# -- both or neither


async def insist(call: Callable[[], Any]) -> Any:
    """Await the call again until the store takes it."""
    while True:
        try:
            return await call()
        except StoreError:
            await asyncio.sleep(0.1)


async def many_things(runtime: AgentRuntime) -> None:
    """Let tasks be submitted, executed, retried, failed with their dependents, cancelled, and show progress."""

    async def work(task: Task, context: Any) -> None:
        await insist(lambda: context.progress(1.0))
        await insist(lambda: context.checkpoint({"at": task.attempt}))
        await insist(lambda: context.step("once", lambda: 1))
        if task.input_data.get("fails", 0) > task.retry_count:
            raise ValueError("as asked")

    await insist(lambda: runtime.register_agent("one", work))
    await insist(lambda: runtime.start_agent("one"))
    cancelled = await insist(lambda: runtime.submit_task("cancelled", delay_seconds=50, idempotency_key="c"))
    specs = [
        TaskSpec(name="good", key="good", idempotency_key="good"),
        TaskSpec(name="retried", key="retried", input_data={"fails": 1}, max_retries=1, idempotency_key="retried"),
        TaskSpec(name="bad", key="bad", input_data={"fails": 1}, idempotency_key="bad"),
        TaskSpec(name="after", dependencies=["good", "retried"], idempotency_key="after"),
        TaskSpec(name="doomed", dependencies=["bad"], idempotency_key="doomed"),
    ]
    ids = await insist(lambda: runtime.submit_tasks(specs))
    assert await insist(lambda: runtime.cancel_task(cancelled)) is True
    done = await runtime.wait_for_tasks(ids, timeout_seconds=600)
    assert [task.status for task in done] == ["completed", "completed", "failed", "completed", "failed"]


@pytest.mark.sqlite
@pytest.mark.spec("R44")
def test_a_refused_commit_leaves_neither_fact_nor_event(tmp_path: Path, url: str) -> None:
    commits = 0

    async def main(clock: VirtualClock, faults: Faults, place: str) -> None:
        nonlocal commits
        async with running(place, clock=clock, durability="normal", poll_seconds=1) as runtime:
            runtime.store.database.faults = faults  # type: ignore[attr-defined]
            await many_things(runtime)
            commits = faults.passed["before_commit"]
            runtime.store.database.faults = None  # type: ignore[attr-defined]
            tasks = runtime.list_tasks(limit=1000)
            assert len(tasks) == 6, "each is stored once, also when its submit was repeated"
            check_story(tasks, all_events(runtime))

    def place(number: int) -> str:
        return url if ":memory:" in url else store_at(tmp_path / f"{number}.db")

    run_virtual(lambda clock: main(clock, Faults(), place(0)))
    assert commits > 20
    for number in range(1, commits + 1):
        faults = Faults()
        faults.error("before_commit", OSError(errno.ENOSPC, "no space left on device"), at=number)
        try:
            run_virtual(partial(main, faults=faults, place=place(number)), seed=number)
        except BaseException as error:
            error.add_note(f"refused was commit {number} of {commits}")
            raise
        assert faults.passed["before_commit"] >= number


# -- in order


@pytest.mark.spec("R44")
def test_ids_rise_over_restarts_and_two_nodes(store_url: str, run: Run) -> None:
    async def nothing(task: Task) -> None:
        return None

    async def main() -> None:
        last = 0
        for life in range(3):
            async with running(store_url, {"a": nothing}) as one, running(store_url, {"b": nothing}) as two:
                ids = [await (one, two)[n % 2].submit_task(str(n)) for n in range(20)]
                done, again = await one.wait_for_tasks(ids), await two.wait_for_tasks(ids)
                assert {task.status for task in (*done, *again)} == {TaskStatus.COMPLETED}
                events = all_events(one)
                assert [e.event_id for e in events] == [e.event_id for e in all_events(two)]
                check_story(one.list_tasks(limit=1000), events)
                first = next(e.event_id for e in events if e.event_id > last)
                assert events[-1].event_id > last and (life == 0 or first == last + 1 or first > last)
                last = events[-1].event_id

    run(main)


@pytest.mark.spec("R44")
def test_a_follower_that_comes_back_at_an_id_misses_nothing_and_sees_nothing_twice(url: str, run: Run) -> None:
    number = 10_000

    async def main() -> None:
        chance = random.Random(44)
        async with running(url, durability="normal") as runtime:
            start = runtime.store.events.last_id()

            async def write() -> None:
                written = 0
                while written < number:
                    size = min(chance.randint(1, 60), number - written)
                    facts = [Fact(event_type="own", details={"n": written + n}) for n in range(size)]
                    await runtime.store.events.append(facts, now=runtime.query_events(limit=1)[0].timestamp)
                    written += size

            async def follow(filters: EventFilter | None) -> list[Event]:
                seen: list[Event] = []
                while not seen or seen[-1].details["n"] != number - 1:
                    left = chance.randint(1, 1500)
                    after = seen[-1].event_id if seen else start
                    stream = runtime.follow_events(after, filters)
                    async for event in stream:
                        seen.append(event)
                        left -= 1
                        if not left or event.details["n"] == number - 1:
                            break
                    await stream.aclose()  # type: ignore[attr-defined]
                return seen

            writing = asyncio.create_task(write())
            followers = [follow(None), follow(EventFilter(event_type="own")), follow(None)]
            for seen in await asyncio.gather(*followers):
                assert [event.details["n"] for event in seen] == list(range(number))
            await writing

    run(main)


# -- out


async def fill(runtime: AgentRuntime, number: int) -> None:
    now = runtime.query_events(limit=1)[0].timestamp
    kinds = ("own", "other")
    for start in range(0, number, 1000):
        facts = [
            Fact(event_type=kinds[n % 2], task_id=f"task {n % 100}", details={"n": n, "text": 'a, "b"\nc'})
            for n in range(start, start + 1000)
        ]
        await runtime.store.events.append(facts, now=now)


@pytest.mark.spec("R45")
def test_queries_over_ten_thousand_events_are_quick_and_right(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, durability="normal") as runtime:
            await fill(runtime, 10_000)
            took = []
            for n in range(60):
                began = time.perf_counter()
                found = runtime.query_events("own", task_id=f"task {n % 50 * 2}", limit=100)
                took.append(time.perf_counter() - began)
                assert [event.details["n"] for event in found] == list(range(9900 + n % 50 * 2, -1, -100))[:100]
                began = time.perf_counter()
                newest = runtime.query_events(severity=Severity.INFO, limit=100)
                took.append(time.perf_counter() - began)
                assert len(newest) == 100 and newest[0].details["n"] == 9999
            assert sorted(took)[int(len(took) * 0.95)] < 0.1 * GUARD

    run(main)


def read_back(path: Path, format: str) -> list[dict[str, Any]]:
    text = path.read_text()
    if format == "jsonl":
        return [msgspec.json.decode(line) for line in text.splitlines()]
    if format == "json":
        decoded: list[dict[str, Any]] = msgspec.json.decode(text)
        return decoded
    with path.open(newline="") as file:
        return [{**row, "details": msgspec.json.decode(row["details"])} for row in csv.DictReader(file)]


@pytest.mark.spec("R45")
@pytest.mark.parametrize("format", ["jsonl", "csv", "json"])
def test_an_export_holds_every_event_that_matches(tmp_path: Path, url: str, run: Run, format: str) -> None:
    async def main() -> None:
        async with running(url, durability="normal") as runtime:
            await fill(runtime, 10_000)
            path = tmp_path / f"events.{format}"
            assert await runtime.export_events(path, format, EventFilter(event_type="own")) == 5000
            rows = read_back(path, format)
            assert [row["details"]["n"] for row in rows] == list(range(0, 10_000, 2))
            assert {row["details"]["text"] for row in rows} == {'a, "b"\nc'}
            assert [int(row["event_id"]) for row in rows] == sorted(int(row["event_id"]) for row in rows)
            assert set(rows[0]) == set(Event.__struct_fields__)
            everything = len(all_events(runtime))
            assert await runtime.export_events(path, format) == everything == len(read_back(path, format))
            assert await runtime.export_events(path, format, EventFilter(event_type="none")) == 0
            assert read_back(path, format) == []
            assert [entry.name for entry in tmp_path.glob("*events*")] == [path.name], "no partial file stays"

    run(main)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.spec("R45")
def test_a_hundred_thousand_events_are_exported_in_bounded_memory(tmp_path: Path, url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, limits=UNLIMITED, durability="normal") as runtime:
            await fill(runtime, 100_000)
            for format in ("jsonl", "csv", "json"):
                before = most = resident_mb()
                exporting = asyncio.create_task(runtime.export_events(tmp_path / "events", format))
                while not exporting.done():
                    most = max(most, resident_mb())
                    await asyncio.sleep(0.01)
                assert await exporting > 100_000
                assert most - before < 50

    run(main)
