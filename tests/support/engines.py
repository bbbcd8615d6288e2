"""PostgreSQL and NATS for tests: each is started when a test first asks for it, once in a pytest process.

A test asks for ``postgres_url`` (a database of its own, dropped afterwards) or ``nats_url`` (a namespace of its own).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shoal.cluster import NatsServer, PostgresServer

__all__ = ["ask_postgres", "fresh_folder", "nats_server", "nats_url", "postgres_server", "postgres_url", "running"]

S = TypeVar("S", PostgresServer, NatsServer)
_numbers = itertools.count(1)
_started: list[PostgresServer | NatsServer] = []
# What a crash of the machine loses does not matter here; what a crash of the server loses is as always.
UNSYNCED = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB", "shared_buffers": "64MB"}


def fresh_folder() -> Path:
    """Return a new folder that any user can pass through: under root, PostgreSQL runs as another one."""
    return Path(tempfile.mkdtemp(prefix="shoal-test-", dir="/tmp"))


def running() -> set[str]:
    """Return the process ids of the servers of this pytest process, which outlive the tests that first ask for them."""
    return {str(server.process.pid) for server in _started}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this pytest process."""
    yield from _served(PostgresServer(fresh_folder(), settings=UNSYNCED))


@pytest.fixture(scope="session")
def ask_postgres(postgres_server: PostgresServer) -> Iterator[Callable[[str], Any]]:
    """``ask_postgres(query)``: its one value. To connect anew for each question would take longer than the answer."""
    import asyncpg

    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres_server.url))
        yield lambda query: runner.run(connection.fetchval(query))
        runner.run(connection.close())


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the test."""
    name = f"test_{next(_numbers)}"
    asyncio.run(_execute(postgres_server.url, f"CREATE DATABASE {name}"))
    yield postgres_server.url_of(name)
    asyncio.run(_execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """The NATS server of this pytest process."""
    yield from _served(NatsServer(fresh_folder()))


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """The URL of a namespace that no other test has."""
    return f"{nats_server.url}/test_{next(_numbers)}"


def _served(server: S) -> Iterator[S]:
    try:
        asyncio.run(server.start())
        _started.append(server)
        yield server
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(server.folder)


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
