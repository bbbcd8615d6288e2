"""What comes while a group is written keeps its place behind those that came before it."""

from __future__ import annotations

import asyncio
import threading

from shoal.kernel.event import Fact
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Transaction
from shoal.testing.store_queue_frame import NOW, after, claim, new, node, submit
from tests.lifecycle.store_postgres.test_cuts import until_ready


def test_nothing_overtakes_those_that_are_written_one_by_one(postgres_url: str) -> None:
    order: list[str] = []
    late: list[asyncio.Future[None]] = []
    queued = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = PostgresStore(postgres_url)
        await store.open()
        database = store.database

        def note(_: Transaction, word: str) -> None:
            order.append(word)

        def ask_late() -> None:
            late.append(database.write(note, "late"))
            queued.set()

        def spoil(cx: Transaction) -> None:
            cx.execute("INSERT INTO meta (key, value) VALUES ('spoilt', '1')")
            if not late:
                loop.call_soon_threadsafe(ask_late)
                assert queued.wait(10)
            raise ValueError("refused after a write")

        refused, _ = await asyncio.gather(database.write(spoil), database.write(note, "early"), return_exceptions=True)
        assert isinstance(refused, ValueError)
        await late[0]
        await store.close()

    asyncio.run(main())
    assert order == ["early", "late"]


def test_tasks_of_one_group_stand_in_the_order_in_which_they_were_submitted(postgres_url: str) -> None:
    """Also when one batch has a task that is not ready, so that its rows are not among those that a claim may take."""
    inside, queued = threading.Event(), threading.Event()

    def stop(point: str) -> None:
        if point == "before_commit" and not inside.is_set():
            inside.set()
            assert queued.wait(10)

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        store.database.faults = stop
        before = asyncio.ensure_future(store.events.append([Fact(event_type="before")], now=NOW))
        assert await asyncio.to_thread(inside.wait, 10)
        group = asyncio.gather(
            submit(store, new("first")), submit(store, new("second"), new("later", not_before=after(100)))
        )
        await asyncio.sleep(0)
        queued.set()
        await asyncio.gather(before, group)
        assert [(await claim(store))[0].task.name for _ in range(2)] == ["first", "second"]
        await store.close()

    asyncio.run(main())


def test_nothing_overtakes_one_that_is_carried_out_alone(postgres_url: str) -> None:
    """Neither what comes meanwhile nor what comes from another loop."""

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        await until_ready(store)
        alone = threading.get_ident()
        points: list[int] = []
        store.database.faults = lambda point: points.append(threading.get_ident())
        first = submit(store, new("first"))
        first_asked = asyncio.ensure_future(first)
        for _ in range(3):
            await asyncio.sleep(0)
        assert points == [alone]  # it is on its way
        store.database.faults = None
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, submit(store, new("second"))))
        later = asyncio.gather(*(submit(store, new(name)) for name in ("third", "fourth")))
        await asyncio.gather(first_asked, later, other)
        names = [(await claim(store))[0].task.name for _ in range(4)]
        assert names[0] == "first" and names.index("third") < names.index("fourth")
        await store.close()

    asyncio.run(main())
