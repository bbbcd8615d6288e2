"""The write-ahead log of a store that is written to is laid out once; nothing is lost by that."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from shoal.store.sqlite.connection import Transaction
from shoal.store.sqlite.database import Database


def put(cx: Transaction, key: str) -> None:
    cx.execute("INSERT INTO meta (key, value) VALUES (?, '')", (key,))


def test_a_laid_out_log_is_recovered_to_its_last_commit(tmp_path: Path) -> None:
    async def main() -> None:
        database = Database(tmp_path / "shoal.db")
        await database.open()
        log = tmp_path / "shoal.db-wal"
        await database.write(put, "first")
        assert log.stat().st_size < 1024 * 1024  # a store that is hardly used has a short log
        for number in range(250):
            await database.write(put, f"key-{number}")
        assert log.stat().st_size >= 4000 * 4096
        for name in ("shoal.db", "shoal.db-wal"):  # as a crash would leave them
            shutil.copy(tmp_path / name, tmp_path / f"crashed-{name}")
        await database.close()

    asyncio.run(main())
    crashed = tmp_path / "crashed-shoal.db"
    with closing(sqlite3.connect(crashed)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT count(*) FROM meta WHERE key LIKE 'key-%' OR key = 'first'").fetchone()
    assert found == (251,)
