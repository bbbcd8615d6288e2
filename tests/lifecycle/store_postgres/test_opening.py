"""Opening a store that is not to be had, or that several nodes open at once: clear errors in time, and no password."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit

import asyncpg
import pytest

from shoal.bus import open_bus
from shoal.config import postgres_faults
from shoal.errors import StoreError
from shoal.kernel.clock import RealClock
from shoal.store import open_store
from shoal.store.postgres import versions
from shoal.testing.store_queue_frame import NOW, new, node, submit

WITHIN_SECONDS = 6.0
SHARE_SECONDS = 4.5  # half of the time goes to the one that is silent


async def _refused(url: str) -> str:
    """Return the text with which *url* is refused, all of it."""
    begun = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await open_store(url).open()
    assert time.monotonic() - begun < WITHIN_SECONDS
    text = f"{caught.value} {caught.value.__notes__ if hasattr(caught.value, '__notes__') else ''}"
    password = urlsplit(url).password
    assert password is not None and password not in text
    return text


async def _execute(url: str, *statements: str) -> list[object]:
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetchval(statement) for statement in statements]
    finally:
        await connection.close()


def test_a_wrong_password(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    url = postgres_url.replace(parts.password or "", "wrong-one")
    text = asyncio.run(_refused(url))
    assert "password authentication failed" in text and "Give user, password and database" in text


def test_no_such_database(postgres_url: str) -> None:
    text = asyncio.run(_refused(postgres_url.rpartition("/")[0] + "/nothing_here"))
    assert '"nothing_here" does not exist' in text and "Give user, password and database" in text


def test_a_server_that_is_away(postgres_url: str, unused_port: int) -> None:
    url = postgres_url.replace(f":{urlsplit(postgres_url).port}/", f":{unused_port}/")
    text = asyncio.run(_refused(url))
    assert "cannot be reached" in text and "Start the server, or correct host, port and options" in text


def test_a_server_that_says_nothing(postgres_url: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            text = await _refused(postgres_url.replace(f":{urlsplit(postgres_url).port}/", f":{port}/"))
        assert "did not answer in time" in text

    asyncio.run(main())


def test_the_first_of_two_hosts_is_dead(postgres_url: str, unused_port: int) -> None:
    parts = urlsplit(postgres_url)
    url = postgres_url.replace(f"@127.0.0.1:{parts.port}", f"@127.0.0.1:{unused_port},127.0.0.1:{parts.port}")

    async def main() -> None:
        store = open_store(url)
        await store.open()
        (task_id,) = await submit(store, new())
        assert store.tasks.get(task_id).status == "pending"
        await store.close()

    asyncio.run(main())


def test_the_first_of_two_hosts_is_silent(postgres_url: str, unused_port: int) -> None:
    """One that was cut off without a word takes its share of the time, and the next connection does not ask it first."""
    port = urlsplit(postgres_url).port

    async def main() -> None:
        with socket.create_server(("127.0.0.1", unused_port)):
            url = postgres_url.replace(f"@127.0.0.1:{port}", f"@127.0.0.1:{unused_port},127.0.0.1:{port}")
            begun = time.monotonic()
            store = open_store(url)
            await store.open()
            assert time.monotonic() - begun < SHARE_SECONDS
            (task_id,) = await submit(store, new())
            assert store.tasks.get(task_id).status == "pending"
            await store.close()
            begun = time.monotonic()
            bus = open_bus(url, clock=RealClock())
            await bus.start("here")
            await bus.stop()
            assert time.monotonic() - begun < SHARE_SECONDS

    asyncio.run(main())


def test_four_nodes_migrate_at_once(postgres_url: str) -> None:
    async def main() -> None:
        stores = [open_store(postgres_url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        for number, store in enumerate(stores):
            await store.leases.join(node(f"n{number}"), now=NOW)
        assert len(stores[0].leases.nodes()) == 4
        assert await _execute(postgres_url, "SELECT number FROM shoal.schema_version") == [versions.KNOWN.version]
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())


def test_a_newer_schema_is_refused_untouched(postgres_url: str) -> None:
    newer = versions.KNOWN.version + 1
    settle = f"UPDATE shoal.schema_version SET number = {newer}, settled = {newer}"
    tables = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'shoal'"

    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        await store.close()
        *_, before = await _execute(postgres_url, settle, tables)
        assert f"schema {newer}, which is newer" in await _refused(postgres_url)
        assert await _execute(postgres_url, "SELECT number FROM shoal.schema_version", tables) == [newer, before]

    asyncio.run(main())


def test_a_foreign_schema_is_refused_untouched(postgres_url: str) -> None:
    async def main() -> None:
        await _execute(postgres_url, "CREATE TABLE invoices (id int)")
        text = await _refused(f"{postgres_url}?schema=public")
        assert "not Shoal's" in text and "invoices" in text
        count = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        assert await _execute(postgres_url, count) == [1]

    asyncio.run(main())


def test_no_setting_of_the_server_is_taken_for_a_misspelt_option(postgres_url: str) -> None:
    async def main() -> None:
        query = "SELECT string_agg(DISTINCT name, ' ') FROM pg_settings"
        names = str(*await _execute(postgres_url, query)).split()
        assert len(names) > 300
        assert postgres_faults(f"{postgres_url}?{'&'.join(f'{name}=1' for name in names)}") == []
        store = open_store(f"{postgres_url}?statement_timeout=7s&DateStyle=German")
        await store.open()
        await store.close()

    asyncio.run(main())
