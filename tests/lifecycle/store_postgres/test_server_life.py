"""A server that is killed, stopped or slow: what was acknowledged is there, once, and whoever waits is answered in time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from shoal.cluster import PostgresServer
from shoal.errors import StoreError
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.transaction import Transaction
from shoal.testing.store_queue_frame import NOW, check_counts, claim, kinds, new, node, settle, submit
from tests.support.engines import UNSYNCED, fresh_folder

READ_SECONDS = 6.5
WRITE_SECONDS = 20.0


@asynccontextmanager
async def _server() -> AsyncIterator[PostgresServer]:
    server = PostgresServer(fresh_folder(), settings=UNSYNCED)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(server.folder)


async def _opened(server: PostgresServer) -> Store:
    store = open_store(server.url)
    await store.open()
    await store.leases.join(node("n1"), now=NOW)
    return store


def test_the_server_is_killed_under_load(rounds: Callable[[int, int], int]) -> None:
    acknowledged: list[str] = []
    completed: set[str] = set()

    async def main() -> None:
        async with _server() as server:
            store = await _opened(server)
            ending = False

            async def produce() -> None:
                while not ending:
                    begun = time.monotonic()
                    acknowledged.extend(await submit(store, new()))
                    assert time.monotonic() - begun < WRITE_SECONDS

            async def consume() -> None:
                while not ending:
                    for each in await claim(store, 5):
                        assert each.task.attempt == 1 and each.task.task_id not in completed
                        assert (await settle(store, each)).applied
                        completed.add(each.task.task_id)

            working = [asyncio.create_task(each()) for each in (produce, produce, produce, consume)]
            for _ in range(rounds(20, 3)):
                before = len(acknowledged)
                while len(acknowledged) < before + 30:
                    assert not any(each.done() for each in working)
                    await asyncio.sleep(0.01)
                await server.process.kill()
                await server.start()
            ending = True
            await asyncio.gather(*working)
            _check_history(store, acknowledged, completed)
            await store.close()

    asyncio.run(main())


def _check_history(store: Store, acknowledged: list[str], completed: set[str]) -> None:
    found = store.tasks.search(limit=100_000)
    assert sorted(task.task_id for task in found) == sorted(acknowledged)
    check_counts(store, len(acknowledged))
    for task in found:
        done = ["task_assigned", "task_started", "task_completed"] if task.task_id in completed else []
        assert kinds(store, task.task_id) == ["task_enqueued", *done]


def test_a_server_that_stays_away() -> None:
    async def main() -> None:
        async with _server() as server:
            store = await _opened(server)
            await server.process.kill()
            begun = time.monotonic()
            with pytest.raises(StoreError, match="could not be read"):
                store.tasks.counts()
            assert time.monotonic() - begun < READ_SECONDS
            with pytest.raises(StoreError, match="refused the write"):
                await submit(store, new())
            assert time.monotonic() - begun < WRITE_SECONDS
            await server.start()
            (task_id,) = await submit(store, new())
            assert store.tasks.get(task_id).status == "pending"
            await store.close()

    asyncio.run(main())


def test_a_server_that_does_not_answer_a_read() -> None:
    async def main() -> None:
        async with _server() as server:
            store = await _opened(server)
            store.tasks.counts()
            (backend,) = await _backends(server, "ROLLBACK")
            os.kill(backend, signal.SIGSTOP)
            try:
                begun = time.monotonic()
                failures = 0
                for _ in range(4):  # the first on the connection that was stopped, the others on a new one
                    try:
                        store.tasks.counts()
                    except StoreError as error:
                        assert "did not answer in time" in str(error)
                        failures += 1
                assert failures == 1 and time.monotonic() - begun < READ_SECONDS
            finally:
                os.kill(backend, signal.SIGCONT)
            await store.close()

    asyncio.run(main())


async def _backends(server: PostgresServer, text: str) -> list[int]:
    connection = await asyncpg.connect(server.url)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE query = $1 AND pid <> pg_backend_pid()", text
        )
    finally:
        await connection.close()
    return [row["pid"] for row in rows]


def test_a_statement_that_takes_too_long(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        try:
            with pytest.raises(StoreError, match="statement timeout"):
                await store.database.write(_too_slow)
            (task_id,) = await submit(store, new())
            assert store.tasks.get(task_id).status == "pending"
        finally:
            await store.close()

    asyncio.run(main())


def _too_slow(cx: Transaction) -> None:
    cx.rows("SELECT set_config('statement_timeout', '300', true)")
    cx.rows("SELECT CAST(pg_sleep(20) AS text)")


def test_an_error_that_nobody_foresaw_ends_one_group(postgres_url: str) -> None:
    def fail(point: str) -> None:
        raise RuntimeError(f"out of order at {point}")

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        store.database.faults = fail
        with pytest.raises(StoreError, match="out of order at before_commit"):
            await submit(store, new())
        store.database.faults = None
        await submit(store, new())
        assert store.tasks.counts()["pending"] == 1
        await store.close()

    asyncio.run(main())
