"""A connection that is cut at a commit: the outcome is found out, so nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from shoal.errors import QueueFullError, StoreError
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventFilter, Fact
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.store.postgres.address import address_of
from shoal.store.postgres.connection import connect
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.lone import _unless_written
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Gathered, Reader, Transaction
from shoal.testing.store_queue_frame import NOW, claim, kinds, new, node, settle, submit
from tests.lifecycle.store_postgres.proxy import Cut, Proxy

Scene = Callable[[Proxy, Store, Store], Awaitable[None]]
ENDED = ["task_enqueued", "task_assigned", "task_started", "task_completed"]


def play(url: str, scene: Scene) -> None:
    async def main() -> None:
        looker = open_store(url)  # reading blocks this loop, on which the proxy runs
        await looker.open()
        async with Proxy(url) as proxy:
            store = open_store(proxy.url)
            await store.open()
            await store.leases.join(node("n1"), now=NOW)
            await scene(proxy, store, looker)
            await store.close()
        await looker.close()

    asyncio.run(main())


async def until_ready(store: Store) -> None:
    """Return when what comes alone is carried out by one statement."""
    database = cast(PostgresStore, store).database
    while not database._intake._lone.ready:
        await claim(store, 1, "nobody")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("cut", ["before", "answer"])
def test_a_cut_at_a_commit(postgres_url: str, cut: Cut) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        (first,) = await submit(store, new())
        for count in range(1, 4):
            proxy.cut_next = cut
            (task_id,) = await submit(store, new(dependencies=(first,)))  # takes its turn among the nodes
            assert proxy.cuts == count
            assert looker.tasks.get(task_id).status == "pending"
            assert kinds(looker, task_id) == ["task_enqueued"]
        assert looker.tasks.counts()["pending"] == 4

    play(postgres_url, scene)


@pytest.mark.parametrize("cut", ["before", "answer", "late"])
def test_a_cut_at_a_transaction_that_is_one_statement(postgres_url: str, cut: Cut) -> None:
    """Once submitted, once claimed and once completed: also when the statement comes to the server after all."""

    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        for count in range(0, 9, 3):
            task = new(f"cut-{count}")
            await until_ready(store)
            proxy.commit, proxy.cut_next = b"cut-%d" % count, cut
            (task_id,) = await submit(store, task)
            assert proxy.cuts == count + 1
            await until_ready(store)
            proxy.commit, proxy.cut_next = b"task_assigned", cut
            (given,) = await claim(store)
            assert (given.task.task_id, given.task.attempt, proxy.cuts) == (task_id, 1, count + 2)
            await until_ready(store)
            proxy.commit, proxy.cut_next = b"done-%d" % count, cut
            assert (await settle(store, given, output=f"done-{count}")).applied and proxy.cuts == count + 3
            await proxy.carry_on()
            found = looker.tasks.get(task_id)
            assert (found.status, found.attempt, found.output_data) == ("completed", 1, f"done-{count}")
            assert kinds(looker, task_id) == ENDED
            counts = looker.tasks.counts()
            assert (counts["pending"], counts["running"], counts["completed"]) == (0, 0, count // 3 + 1)

    play(postgres_url, scene)


@pytest.mark.parametrize("cut", ["before", "answer", "late", "between"])
def test_an_event_that_has_no_key_is_written_once(postgres_url: str, cut: Cut) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        for number in range(3):
            proxy.commit, proxy.cut_next = b"agent-%d" % number, cut
            await store.events.append([Fact(event_type="cut", agent_id=f"agent-{number}")], now=NOW)
        assert proxy.cuts == 3
        await proxy.carry_on()
        found = looker.events.query(EventFilter(event_type="cut", oldest_first=True), 100)
        assert [event.agent_id for event in found] == ["agent-0", "agent-1", "agent-2"]

    play(postgres_url, scene)


_REFUSE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END';
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON writers FOR EACH STATEMENT EXECUTE FUNCTION refuse()"""


async def _as_owner(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"search_path": "shoal"})
    await connection.execute(statement)
    await connection.close()


def test_a_writer_that_gets_no_name_asks_for_it_again(postgres_url: str) -> None:
    """Two without one would take each other's marks for their own."""

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await _as_owner(postgres_url, _REFUSE)
        with pytest.raises(StoreError, match="disk_full"):
            await submit(store, new())
        await _as_owner(postgres_url, "DROP TRIGGER refuse ON writers")
        await submit(store, new())
        names = [name for (name,) in store.database.read(Reader.rows, "SELECT writer FROM writers")]
        await store.close()
        assert len(names) == 1 and names[0]

    asyncio.run(main())


def test_what_is_refused_while_it_is_found_out_is_not_called_refused(postgres_url: str) -> None:
    """The statement may still come to the server, so whoever asked is not told that nothing is written."""

    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        # The server knows the text from then on: between learning one and carrying it out it waits for no more than 9 s.
        await store.events.append([Fact(event_type="cut", agent_id="agent-0")], now=NOW)
        await _as_owner(postgres_url, _REFUSE)
        proxy.commit, proxy.cut_next = b"agent-1", "late"
        with pytest.raises(StoreError, match="may be stored or not"):
            await store.events.append([Fact(event_type="cut", agent_id="agent-1")], now=NOW)
        await _as_owner(postgres_url, "DROP TRIGGER refuse ON writers")
        await proxy.carry_on()
        assert len(looker.events.query(EventFilter(event_type="cut"), 9)) == 2

    play(postgres_url, scene)


def test_a_statement_that_is_known_to_have_written_nothing_needs_not_be_found_out(postgres_url: str) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        def seal_as_nobody() -> PostgresDriver:
            link = connect(address_of(postgres_url), writes=True)
            driver = PostgresDriver(link, 1, ("nobody", 1))
            event = (0, "cut", "info", None, None, None, None, None)
            assert not driver.seal_alone(Gathered([], None, [event], True))
            link.close()
            return driver

        driver = await asyncio.to_thread(seal_as_nobody)
        assert not driver.sealed and not looker.events.query(EventFilter(event_type="cut"), 9)

    play(postgres_url, scene)


_END_ALL = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'shoal'"""


def test_a_connection_that_ends_before_the_look_is_not_looked_through(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        (task_id,) = await submit(store, new())
        await until_ready(store)
        await asyncio.to_thread(asyncio.run, _as_owner(postgres_url, _END_ALL))
        (given,) = await claim(store)
        assert (given.task.task_id, given.task.attempt) == (task_id, 1)
        await until_ready(store)  # again
        await store.close()

    asyncio.run(main())


def test_one_that_comes_alone_is_not_called_refused_while_it_is_found_out(postgres_url: str) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        await until_ready(store)
        await submit(store, new("first"))  # the server knows the text from then on, see above
        await _as_owner(postgres_url, _REFUSE)
        proxy.commit, proxy.cut_next = b"second", "late"
        with pytest.raises(StoreError, match="may be stored or not"):
            await submit(store, new("second"))
        await _as_owner(postgres_url, "DROP TRIGGER refuse ON writers")
        await proxy.carry_on()
        assert len(looker.tasks.search()) == 2

    play(postgres_url, scene)


def test_what_finds_out_leaves_a_later_mark_or_nothing(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        database = store.database
        done: list[str] = []

        def note(cx: Transaction, word: str) -> str:
            done.append(word)
            return word

        def refuse(cx: Transaction) -> None:
            raise QueueFullError("tasks", 1)

        def marks() -> list[tuple[Any, ...]]:
            return database.read(
                Reader.rows, "SELECT writer, number FROM writers WHERE writer LIKE 'w%' ORDER BY writer"
            )

        assert await database.write(_unless_written, ("w1", 3), "lost answer", note, ("again",)) == "again"
        assert (done, marks()) == (["again"], [("w1", 4)])
        assert await database.write(_unless_written, ("w1", 4), "lost answer", note, ("twice",)) == "lost answer"
        assert (done, marks()) == (["again"], [("w1", 4)])
        with pytest.raises(QueueFullError):
            await database.write(_unless_written, ("w2", 7), "lost answer", refuse, ())
        assert marks() == [("w1", 4), ("w2", 8)]
        await store.close()

    asyncio.run(main())


def test_an_end_that_cannot_be_written_says_why_and_costs_no_connection(postgres_url: str) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        (task_id,) = await submit(store, new())
        (given,) = await claim(store)
        proxy.commit, proxy.cut_next = b"SELECT pg_advisory_lock_shared", "before"  # as a new connection begins
        with pytest.raises(TypeError, match="object"):
            await settle(store, given, output=object())
        assert (await settle(store, given)).applied and proxy.cuts == 0
        assert kinds(looker, task_id) == ENDED

    play(postgres_url, scene)


def test_a_heartbeat_that_comes_late_shortens_no_lease(postgres_url: str) -> None:
    async def scene(proxy: Proxy, store: Store, looker: Store) -> None:
        ends = [looker.clock.now() + timedelta(seconds=seconds) for seconds in (10, 20, 30)]

        async def beat(until: datetime) -> None:
            assert await asyncio.to_thread(store.leases.heartbeat, "n1", until=until, load=0.0, agents=0)

        await beat(ends[0])
        proxy.commit, proxy.cut_next = epoch(ends[1]).to_bytes(8, "big"), "late"
        await beat(ends[1])
        await beat(ends[2])
        await proxy.carry_on()
        assert proxy.cuts == 1 and [each.lease_until for each in looker.leases.nodes()] == [ends[2]]

    play(postgres_url, scene)
