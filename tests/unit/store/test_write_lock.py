"""A process that holds up the others is named, in bounded time; and a wait that was given up leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.errors import StoreError
from shoal.store.sql.transaction import Reader, Transaction
from shoal.store.sqlite import write_lock
from shoal.store.sqlite.database import SqliteDatabase
from shoal.store.sqlite.write_lock import WriteLock
from tests.support.runtimes import until

HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print("has it", flush=True)
sys.stdin.read()
"""


def put(cx: Transaction, key: str) -> str:
    cx.execute("INSERT INTO meta (key, value) VALUES (?, '')", (key,))
    return key


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"{path}-lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"has it\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def lock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "shoal-store-lock"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(WriteLock.__init__, "__defaults__", (0.3,))
    return tmp_path / "shoal.db"


@pytest.mark.parametrize("frozen", [True, False])
def test_whoever_holds_up_the_writes_is_named(path: Path, run: Callable[..., None], frozen: bool) -> None:
    async def main() -> None:
        database = SqliteDatabase(path)
        await database.open()
        with holder(path) as process:
            if frozen:
                process.send_signal(signal.SIGSTOP)
                await until(lambda: stopped(process.pid))
            lost = await asyncio.gather(*(database.write(put, key) for key in "ab"), return_exceptions=True)
            for error in lost:
                assert isinstance(error, StoreError) and f"process {process.pid} holds it up" in str(error)
                assert ("is stopped" in str(error)) == frozen
                assert ("kill -CONT" in error.__notes__[0]) == frozen
            with pytest.raises(StoreError, match="holds it up"):
                await SqliteDatabase(path).open()
            waits = database.write(put, "waits")
        assert await waits == "waits", "the death of the holder frees it at once"
        with holder(path):
            pass  # it is free again for others
        await database.close()
        assert not lock_threads()

    run(main)


def test_a_wait_that_was_given_up_keeps_no_lock(path: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        database = SqliteDatabase(path)
        await database.open()
        with holder(path), pytest.raises(StoreError):
            await database.write(put, "late")
        with holder(path):  # nobody here writes; the lock that came too late was let go
            pass
        await database.write(put, "after")
        assert {row[0] for row in database.read(Reader.rows, "SELECT key FROM meta")} == {"after"}
        await database.close()

    run(main)


def test_a_store_closes_while_another_holds_it_up(path: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        database = SqliteDatabase(path)
        await database.open()
        with holder(path):
            with pytest.raises(StoreError):
                await database.write(put, "late")
            await database.close()
        await until(lambda: not lock_threads())
        with holder(path):
            pass

    run(main)


def test_a_place_of_locks_that_cannot_be_read_names_nobody(tmp_path: Path) -> None:
    free = tmp_path / "free-lock"
    free.touch()
    assert write_lock._holder(os.fspath(free)) is None
