"""One writer, group commit: who gets what when something goes wrong, and which files are refused."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shoal.errors import ConfigError, StoreError, TaskNotFoundError
from shoal.store import open_store
from shoal.store.sql.transaction import Reader, Transaction
from shoal.store.sqlite import schema
from shoal.store.sqlite.database import SqliteDatabase
from shoal.store.sqlite.place import filesystem_type
from shoal.testing.faults import Faults, SimulatedCrash

_PUT = "INSERT INTO meta (key, value) VALUES (?, ?)"


def put(cx: Transaction, key: str, value: str = "") -> str:
    cx.execute(_PUT, (key, value))
    return key


def refuse(cx: Transaction) -> None:
    raise TaskNotFoundError("x")


def spoil(cx: Transaction, key: str) -> None:
    put(cx, key)
    raise ArithmeticError("after a write")


def keys(database: SqliteDatabase) -> set[str]:
    return {row[0] for row in database.read(Reader.rows, "SELECT key FROM meta")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shoal.db"


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("bad", [lambda cx: refuse(cx), lambda cx: spoil(cx, "spoilt"), lambda cx: put(cx, "a")])
def test_only_the_culprit_of_a_group_fails(path: Path, inline: bool, bad: Callable[[Transaction], object]) -> None:
    async def main() -> None:
        database = SqliteDatabase(path, inline=inline)
        await database.open()
        done = await asyncio.gather(
            database.write(put, "a"), database.write(bad), database.write(put, "b"), return_exceptions=True
        )
        assert (done[0], done[2]) == ("a", "b") and isinstance(done[1], Exception)
        assert keys(database) == {"a", "b"}
        await database.close()
        with pytest.raises(StoreError, match="not open"):
            database.write(put, "c")

    asyncio.run(main())


@pytest.mark.parametrize("inline", [False, True])
def test_a_full_disk_loses_nothing_acknowledged_and_is_survived(path: Path, inline: bool) -> None:
    async def main() -> None:
        database = SqliteDatabase(path, inline=inline)
        await database.open()
        await database.write(put, "before", "x")
        pages = await database.write(lambda cx: int(cx.value("PRAGMA page_count")))
        await database.write(lambda cx: cx.rows(f"PRAGMA max_page_count = {pages + 5}"))
        big = await asyncio.gather(
            *(database.write(put, f"big{place}", "x" * 100_000) for place in range(3)), return_exceptions=True
        )
        assert all(isinstance(error, StoreError) and "full" in str(error) for error in big)
        assert keys(database) == {"before"}
        await database.write(put, "small")
        await database.write(lambda cx: cx.rows("PRAGMA max_page_count = 1000000"))
        await database.write(put, "big", "x" * 100_000)
        assert keys(database) == {"before", "small", "big"}
        await database.close()

    asyncio.run(main())


def test_an_error_of_the_disk_at_the_commit_fails_the_group_only(path: Path) -> None:
    async def main() -> None:
        database = SqliteDatabase(path)
        await database.open()
        faults = Faults()
        faults.error("before_commit", OSError(28, "No space left on device"))
        database.faults = faults
        lost = await asyncio.gather(*(database.write(put, f"{n}") for n in range(3)), return_exceptions=True)
        failed = [type(error) for error in lost if not isinstance(error, str)]
        assert failed and set(failed) == {StoreError}
        await database.write(put, "after")
        assert keys(database) == {"after", *(key for key in lost if isinstance(key, str))}
        await database.close()

    asyncio.run(main())


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_simulated_crash_acknowledges_nothing(path: Path, point: str) -> None:
    async def main() -> None:
        crashes: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context["exception"]))
        database = SqliteDatabase(path, inline=True)
        await database.open()
        await database.write(put, "kept")
        faults = Faults()
        faults.crash(point)
        database.faults = faults
        waits = database.write(put, "lost")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waits.done() and isinstance(crashes[0], SimulatedCrash)
        again = SqliteDatabase(path, inline=True)
        await again.open()
        assert keys(again) == ({"kept"} if point == "before_commit" else {"kept", "lost"})
        await again.close()

    asyncio.run(main())


@pytest.mark.parametrize("inline", [False, True])
def test_a_crash_between_two_commits_drops_what_was_queued(path: Path, inline: bool) -> None:
    async def main() -> None:
        database = SqliteDatabase(path, inline=inline)
        await database.open()
        await database.write(put, "kept")
        database.crash()
        with pytest.raises(StoreError, match="not open"):
            database.write(put, "late")
        again = SqliteDatabase(path, inline=inline)
        await again.open()
        assert keys(again) == {"kept"}
        await again.close()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name == "shoal-store-writer":
            thread.join(10)
            assert not thread.is_alive()


def test_writes_without_a_loop_and_news_of_others(path: Path) -> None:
    async def main() -> None:
        first, second = SqliteDatabase(path), SqliteDatabase(path)
        await first.open()
        await second.open()
        heard: list[int] = []
        undo = first.on_commit(lambda: heard.append(1))
        await first.write(put, "silent")
        await first.write(Transaction.announce)
        assert heard == [1]
        undo()
        assert not first.changed() and second.changed() and not second.changed()
        assert await asyncio.to_thread(lambda: second.write_apart(put, "thread", "")) == "thread"
        assert first.changed() and not first.changed()
        assert keys(first) == {"silent", "thread"}
        await second.close()
        await first.close()

    asyncio.run(main())


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {0x53686F6C}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_text("hello " * 100), "not a database"),
        (lambda path: path.write_bytes(b"short"), "not a database"),
        (_foreign, "database of something else"),
        (_newer, "newer schema"),
        (lambda path: os.mkfifo(path), "not a regular file"),
    ],
)
def test_what_is_no_store_is_refused_and_left_alone(path: Path, make: Callable[[Path], object], words: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    names = sorted(os.listdir(path.parent))
    with pytest.raises(StoreError, match=words) as caught:
        asyncio.run(SqliteDatabase(path).open())
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert sorted(os.listdir(path.parent)) == names


def test_other_places_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no directory"):
        asyncio.run(SqliteDatabase(tmp_path / "missing" / "shoal.db").open())
    for url in ("mysql://x", "sqlite://", "sqlite:///", "shoal.db"):
        with pytest.raises(ConfigError, match="sqlite:///FILE"):
            open_store(url)
    with pytest.raises(ConfigError, match="full or normal"):
        open_store("sqlite://:memory:", durability="none")
    mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /mnt/a\\040b rw - nfs4 host:/x rw\n"
    assert filesystem_type(Path("/mnt/a b/shoal.db"), mounts) == "nfs4"
    assert filesystem_type(Path("/mnt/a bc/shoal.db"), mounts) == "ext4"


def test_what_is_opened_for_reading_only_creates_migrates_and_writes_nothing(path: Path) -> None:
    async def main() -> None:
        with pytest.raises(StoreError, match="there is no store at"):
            await SqliteDatabase(path, read_only=True).open()
        assert list(path.parent.iterdir()) == []
        database = SqliteDatabase(path)
        await database.open()
        await database.write(put, "a")
        reader = SqliteDatabase(path, read_only=True)
        await reader.open()
        assert keys(reader) == {"a"} and not reader.changed()
        await database.write(put, "b")
        assert reader.changed() and not reader.changed() and keys(reader) == {"a", "b"}
        with pytest.raises(StoreError, match="reading only"):
            reader.write(put, "c")
        await reader.close()
        await database.close()
        with closing(sqlite3.connect(path)) as older:
            older.execute("PRAGMA user_version = 0")
        before = path.read_bytes()
        with pytest.raises(StoreError, match="older schema") as caught:
            await SqliteDatabase(path, read_only=True).open()
        assert "shoal db migrate" in caught.value.__notes__[0]
        assert path.read_bytes() == before

    asyncio.run(main())
