"""The schema changes while programs of the version before are at work: they go on, and nobody waits for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shoal.client import Client
from shoal.errors import StoreError
from shoal.store import open_store, settle
from shoal.store.postgres import schema, versions
from tests.support.command import said, shoal
from tests.support.nodes import Fleet, begun

OLD = versions.KNOWN
NEXT = OLD.version + 1
NEWER = versions.Migrations(
    (*OLD.adding, "ALTER TABLE tasks ADD COLUMN colour TEXT, ADD COLUMN weight BIGINT NOT NULL DEFAULT 0"),
    {**OLD.taking, NEXT: "ALTER TABLE tasks ALTER COLUMN colour SET NOT NULL, ALTER COLUMN colour SET DEFAULT 'red'"},
)
PROMPT_SECONDS = 5.0
Run = Callable[..., Any]


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Callable[[versions.Migrations], None]:
    """``newer(known)`` makes this process a program that knows other migrations."""
    return lambda known: monkeypatch.setattr(versions, "KNOWN", known)


async def _ask(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url, server_settings={"search_path": "shoal"})
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def _at_work(client: Client) -> AsyncIterator[list[str]]:
    """Submit tasks until the end, each within a few seconds; gives their ids."""
    ids: list[str] = []
    ended = asyncio.Event()

    async def submit() -> None:
        while not ended.is_set():
            begun = time.monotonic()
            ids.append(await client.submit_task("work", {"number": len(ids)}, capability="work"))
            assert time.monotonic() - begun < PROMPT_SECONDS
            await asyncio.sleep(0.01)

    submitting = asyncio.create_task(submit())
    try:
        yield ids
    finally:
        ended.set()
        await submitting


async def _opened(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


def test_an_older_node_works_on_while_a_newer_program_migrates(
    postgres_url: str, tmp_path: Path, run: Run, newer: Callable[[versions.Migrations], None]
) -> None:
    fleet = Fleet(postgres_url, tmp_path)
    with fleet.node("old", workers=2) as old:

        async def main() -> None:
            async with Client(store=postgres_url) as client:
                async with _at_work(client) as ids:
                    while len(begun(fleet.history())) < 20:
                        await asyncio.sleep(0.01)
                    newer(NEWER)
                    await _opened(postgres_url)
                    assert await _ask(postgres_url, "SELECT number FROM schema_version") == NEXT
                    before = len(begun(fleet.history()))
                    while len(begun(fleet.history())) < before + 50:
                        await asyncio.sleep(0.01)
                    with pytest.raises(StoreError, match="programs of an older version are connected") as caught:
                        await settle(postgres_url)
                    assert "Drain the nodes of the older version" in caught.value.__notes__[0]
                    newer(OLD)
                    await _opened(postgres_url)  # a program of the older version may begin as well
                done = await client.wait_for_tasks(ids, timeout_seconds=60)
                assert [task.output_data["number"] for task in done] == list(range(len(ids)))
            assert old.process.poll() is None
            assert {len(nodes) for nodes in begun(fleet.history()).values()} == {1}, "each once"

        run(main)
    newer(NEWER)

    async def settled() -> None:
        await _ask(postgres_url, "UPDATE tasks SET colour = 'grey'")
        await settle(postgres_url)
        await settle(postgres_url)  # which has nothing left to do
        await _opened(postgres_url)
        newer(OLD)
        with pytest.raises(StoreError, match=f"schema {NEXT}, which is newer than this version of Shoal bears"):
            await _opened(postgres_url)

    run(settled)


def test_a_change_waits_for_a_long_transaction_and_nobody_waits_for_the_change(
    postgres_url: str, tmp_path: Path, run: Run, newer: Callable[[versions.Migrations], None], monkeypatch: Any
) -> None:
    fleet = Fleet(postgres_url, tmp_path)
    with fleet.node("old", workers=2):

        async def main() -> None:
            async with Client(store=postgres_url) as client, _at_work(client):
                dump = await asyncpg.connect(postgres_url)
                reading = dump.transaction()
                await reading.start()
                await dump.fetch("SELECT * FROM shoal.tasks LIMIT 1")
                newer(NEWER)
                monkeypatch.setattr(schema, "_WAIT_SECONDS", 1.0)
                with pytest.raises(StoreError, match="for 1 s others have held its tables") as caught:
                    await _opened(postgres_url)
                assert str(dump.get_server_pid()) in str(caught.value)
                monkeypatch.setattr(schema, "_WAIT_SECONDS", 60.0)
                opening = asyncio.create_task(_opened(postgres_url))
                before = len(begun(fleet.history()))
                while len(begun(fleet.history())) < before + 50:
                    await asyncio.sleep(0.01)
                assert not opening.done()
                await reading.rollback()
                await asyncio.wait_for(opening, PROMPT_SECONDS)
                await dump.close()
                assert await _ask(postgres_url, "SELECT number FROM schema_version") == NEXT

        run(main)


def test_the_command_makes_and_settles_a_store(postgres_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        done = said(shoal(tmp_path, "db", "migrate", "--json", "--store", postgres_url))
        assert done == {"schema_version": OLD.version}


def test_a_new_store_has_all_of_it_at_once(
    postgres_url: str, run: Run, newer: Callable[[versions.Migrations], None]
) -> None:
    newer(NEWER)
    run(lambda: _opened(postgres_url))
    assert run(lambda: _ask(postgres_url, "SELECT settled FROM schema_version")) == NEXT
    newer(OLD)
    with pytest.raises(StoreError, match="which is newer"):
        run(lambda: _opened(postgres_url))


def test_a_migration_that_fails_changes_nothing(
    postgres_url: str, run: Run, newer: Callable[[versions.Migrations], None]
) -> None:
    run(lambda: _opened(postgres_url))
    newer(versions.Migrations((*OLD.adding, "CREATE TABLE more (); SELECT 1 / 0"), {}))
    with pytest.raises(StoreError, match="cannot be opened: division by zero"):
        run(lambda: _opened(postgres_url))
    assert run(lambda: _ask(postgres_url, "SELECT number FROM schema_version")) == OLD.version
    assert run(lambda: _ask(postgres_url, "SELECT to_regclass('shoal.more')")) is None
