"""Two nodes that write at the same time: each task is given once, and who follows the events misses none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

from shoal.kernel.event import EventFilter, EventType, Fact
from shoal.kernel.ports import Claim, Fence, Outcome, Settlement, Store
from shoal.store import open_store
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Reader
from shoal.testing.store_queue_frame import NOW, check_counts, claim, kinds, new, node, settle, submit

TASKS = 2000
ROOM = 7


async def _two(url: str) -> tuple[Store, Store]:
    stores = (open_store(url), open_store(url))
    for number, store in enumerate(stores, 1):
        await store.open()
        await store.leases.join(node(f"n{number}"), now=NOW)
    return stores


def test_2000_tasks_are_given_once_each(postgres_url: str) -> None:
    given: Counter[str] = Counter()

    async def work(store: Store, node_id: str) -> None:
        while claims := await claim(store, ROOM, node_id=node_id):
            given.update(each.task.task_id for each in claims)
            ended = await asyncio.gather(*(_end(store, each, node_id) for each in claims))
            assert all(ended)

    async def _end(store: Store, each: Claim, node_id: str) -> bool:
        fence = Fence(each.task.task_id, node_id, each.task.attempt)
        return (
            await store.tasks.settle(Settlement(fence=fence, agent_id="a1", outcome=Outcome.COMPLETED), now=NOW)
        ).applied

    async def main() -> None:
        one, two = await _two(postgres_url)
        tasks = [new() for _ in range(TASKS)]
        await asyncio.gather(*(submit(one if n % 2 else two, *tasks[n::20]) for n in range(20)))
        while sum(given.values()) < TASKS:  # one may find nothing while the other holds the rest
            before = sum(given.values())
            await asyncio.gather(work(one, "n1"), work(two, "n2"))
            assert sum(given.values()) > before
        assert set(given.values()) == {1} and len(given) == TASKS
        assert check_counts(one, TASKS)["completed"] == TASKS
        for task in tasks[::100]:
            assert kinds(two, task.task_id) == ["task_enqueued", "task_assigned", "task_started", "task_completed"]
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_a_dependent_of_two_nodes_is_released_once(postgres_url: str) -> None:
    async def main() -> None:
        one, two = await _two(postgres_url)
        for _ in range(30):
            left, right = new("left"), new("right")
            await submit(one, left, right)
            (of_one,) = await claim(one)
            (of_two,) = await claim(two, node_id="n2")
            joint = new("joint", dependencies=(left.task_id, right.task_id))
            last = Settlement(fence=Fence(of_two.task.task_id, "n2", 1), agent_id="a1", outcome=Outcome.COMPLETED)
            await asyncio.gather(settle(one, of_one), submit(two, joint), two.tasks.settle(last, now=NOW))
            (given,) = await claim(one)
            assert given.task.task_id == joint.task_id
            assert (await settle(one, given)).applied
        assert check_counts(one, 90)["completed"] == 90
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_the_same_key_from_two_nodes_is_one_task(postgres_url: str) -> None:
    async def main() -> None:
        one, two = await _two(postgres_url)
        for number in range(20):
            keyed = [new(idempotency_key=f"key-{number}") for _ in range(4)]
            ids = await asyncio.gather(*(submit(one if n % 2 else two, task) for n, task in enumerate(keyed)))
            assert len({task_id for (task_id,) in ids}) == 1
        assert check_counts(one, 20)["pending"] == 20
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_a_follower_misses_no_event(postgres_url: str) -> None:
    seen: list[int] = []
    told: list[str] = []

    async def main() -> None:
        one, two = await _two(postgres_url)
        slow = PostgresStore(postgres_url)
        await slow.open()
        # It has written its events, and does not come to its commit while the others hurry on.
        slow.database.faults = lambda point: time.sleep(0.02) if point == "before_commit" else None
        looker = open_store(postgres_url)
        await looker.open()
        done = asyncio.Event()

        def look() -> None:
            after = seen[-1] if seen else 0
            page = looker.events.query(EventFilter(after_id=after, oldest_first=True), 1000)
            seen.extend(event.event_id for event in page)
            told.extend(event.task_id or "" for event in page if event.event_type == EventType.TASK_ENQUEUED)

        async def follow() -> None:
            while not done.is_set():
                await asyncio.to_thread(look)

        follower = asyncio.create_task(follow())
        for _ in range(30):
            await asyncio.gather(*(submit(store, new()) for store in (slow, one, two) for _ in range(5)))
        done.set()
        await follower
        look()
        assert len(told) == len(set(told)) == 450
        assert seen == sorted(set(seen))
        for store in (slow, one, two, looker):
            await store.close()

    asyncio.run(main())


def test_a_key_of_two_nodes_is_submitted_once(postgres_url: str) -> None:
    async def main() -> None:
        one, two = await _two(postgres_url)
        keys = [f"k{number}" for number in range(60)]
        for some in (keys[:20], keys[20:40], keys[40:]):
            of_one = (submit(one, new(idempotency_key=key)) for key in some)
            of_two = (submit(two, new(idempotency_key=key), new()) for key in reversed(some))
            found = await asyncio.gather(*of_one, *of_two)
            ids = dict(zip(some, (task_id for task_id, *_ in found[: len(some)]), strict=True))
            again = dict(zip(reversed(some), (task_id for task_id, _ in found[len(some) :]), strict=True))
            assert ids == again
        check_counts(one, 2 * len(keys))
        for store in (one, two):
            await store.close()

    asyncio.run(main())


def test_who_waits_for_a_key_of_another_node_holds_up_nobody(postgres_url: str) -> None:
    """Else the other, once it commits, waits for whoever waits for it, until the server looks for such circles."""
    commits = threading.Semaphore(0)
    inside = threading.Semaphore(0)

    def stop(point: str) -> None:
        if point == "before_commit":
            inside.release()
            assert commits.acquire(timeout=10)

    async def main() -> None:
        one, two = PostgresStore(postgres_url), open_store(postgres_url)
        for number, store in enumerate((one, two), 1):
            await store.open()
            await store.leases.join(node(f"n{number}"), now=NOW)
        one.database.faults = stop
        before = asyncio.ensure_future(one.events.append([Fact(event_type="before")], now=NOW))
        await asyncio.to_thread(inside.acquire)
        # Together in one transaction, whose task is written before mail is looked at.
        first = asyncio.gather(submit(one, new(idempotency_key="k")), one.mail.ack("a1", ["m1"], now=NOW))
        await asyncio.sleep(0)
        commits.release()
        await asyncio.to_thread(inside.acquire)
        second = asyncio.ensure_future(submit(two, new(idempotency_key="k")))
        while not await one.database.read_soon(Reader.value, "SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
            assert not second.done()
        try:
            await one.database.read_soon(Reader.value, "SELECT number FROM commits FOR UPDATE NOWAIT")
        finally:
            commits.release(2)
            await before
        assert (await first)[0] == await second
        for store in (one, two):
            await store.close()

    asyncio.run(main())
