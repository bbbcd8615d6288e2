"""The write-ahead log of a store that is written to is laid out once; nothing is lost by that."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from shoal.store.sql.transaction import Transaction
from shoal.store.sqlite.database import SqliteDatabase
from shoal.store.sqlite.log_layout import lay_out_log


def put(cx: Transaction, key: str) -> None:
    cx.execute("INSERT INTO meta (key, value) VALUES (?, '')", (key,))


def test_a_laid_out_log_is_recovered_to_its_last_commit(tmp_path: Path) -> None:
    async def main() -> None:
        database = SqliteDatabase(tmp_path / "shoal.db")
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


def test_a_disk_without_room_for_the_layout_gets_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shoal.db"
    log = tmp_path / "shoal.db-wal"
    log.write_bytes(b"frames" * 1000)
    write, free = os.pwrite, 3

    def pwrite(file: int, piece: bytes, place: int) -> int:
        nonlocal free
        free -= 1
        if not free:
            raise OSError(28, "No space left on device")
        return write(file, piece, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    lay_out_log(path)
    assert log.read_bytes() == b"frames" * 1000
    free = 100
    lay_out_log(path)
    laid_out = log.read_bytes()
    assert laid_out.startswith(b"frames" * 1000) and not any(laid_out[6000:]) and len(laid_out) == 4000 * 4120
    log.unlink()
    lay_out_log(path)
    assert not log.exists(), "a database without a log gets none"


KILLED = """
import asyncio, os, signal, sys
from shoal.store.sqlite.database import SqliteDatabase

write, left = os.pwrite, int(sys.argv[2])

def pwrite(file, piece, place):
    global left
    left -= 1
    if not left:
        write(file, piece[:1000], place)
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, piece, place)

async def main():
    os.pwrite = pwrite
    database = SqliteDatabase(sys.argv[1])
    await database.open()
    for number in range(1000):
        await database.write(lambda cx: cx.execute("INSERT INTO meta (key, value) VALUES (?, '')", (f"key-{number}",)))
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("piece", [1, 5])
def test_a_kill_in_the_midst_of_the_layout_loses_nothing(tmp_path: Path, piece: int) -> None:
    path = tmp_path / "shoal.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(piece)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = {key for (key,) in connection.execute("SELECT key FROM meta WHERE key LIKE 'key-%'")}
    assert found >= {f"key-{number}" for number in done.stdout.split()}
