"""What the tests of this run stand on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

__all__ = ["MADE_A_STORE", "POSTGRES", "STORES", "fresh_store", "is_there", "on_cluster", "store_at"]

MADE_A_STORE = pytest.StashKey[bool]()
"""Whether a test has made a store in PostgreSQL."""

POSTGRES = "SHOAL_TEST_POSTGRES"
"""The variable with the URL of the PostgreSQL server of this run, for the programs that a test starts."""


STORES = "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, 'test_')"
"""How many stores tests have made on a PostgreSQL server so far."""


def on_cluster() -> bool:
    """Tell whether it is PostgreSQL and NATS instead of SQLite and the local bus (``SHOAL_TEST_BACKEND=cluster``)."""
    return os.environ.get("SHOAL_TEST_BACKEND") == "cluster"


def store_at(path: Path) -> str:
    """Return the URL of the store that a test keeps at *path*: this file, or on the cluster a schema of its own.

    The test and the programs it starts come to the same URL. It needs the fixture ``backend``.
    """
    if not on_cluster():
        return f"sqlite:///{path}"
    return f"{os.environ[POSTGRES]}?schema={_schema(path)}"


def fresh_store() -> str:
    """Return the URL of a new store that nobody else finds: in memory, or on the cluster; it needs the same fixture."""
    return store_at(Path(uuid.uuid4().hex)) if on_cluster() else "sqlite://:memory:"


def is_there(path: Path) -> bool:
    """Tell whether somebody has made the store of *path* already."""
    if not on_cluster():
        return path.exists()
    return bool(_count(os.environ[POSTGRES], "SELECT count(*) FROM pg_tables WHERE schemaname = $1", _schema(path)))


def _schema(path: Path) -> str:
    return f"test_{hashlib.sha256(str(path).encode()).hexdigest()[:24]}"


def _count(url: str, query: str, *arguments: str) -> int:
    import asyncpg  # not there for everybody who runs the tests of one machine

    async def count() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(query, *arguments))
        finally:
            await connection.close()

    def ask() -> int:
        return asyncio.run(count())

    with ThreadPoolExecutor(1) as thread:  # who asks may be within a loop
        return thread.submit(ask).result()
