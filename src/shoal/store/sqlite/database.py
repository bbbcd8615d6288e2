"""One database: many readers, one writer with group commit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from shoal.errors import StoreError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bell, Clock
from shoal.store.sql.database import Drift
from shoal.store.sql.operations import Operation, Operations
from shoal.store.sql.transaction import Reader, Refusal, Transaction
from shoal.store.sqlite import schema
from shoal.store.sqlite.connection import Connection, DriverError, SqliteDriver, connect, leave_log_alone
from shoal.store.sqlite.place import check_place, refuse_newer
from shoal.store.sqlite.write_lock import WriteLock
from shoal.store.sqlite.writer import Writer

__all__ = ["SqliteDatabase"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MEMORY = ":memory:"
_BUSY = 200  # groups after which a store is written to enough for a log of its whole length


class SqliteDatabase:
    """One SQLite file, or one database in memory: many readers, one writer.

    Args:
        path: the file, or ``:memory:``.
        durability: ``full`` (fsync at each commit) or ``normal`` (a power cut may lose the last commits; a crash of
            the process loses none).
        inline: no thread; operations are written on the event loop, as one group, in its next turn. For simulations.
        read_only: nothing is created, migrated or written.
        clock: this node's, and that of all, who are on one machine.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "full",
        inline: bool = False,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.memory = str(path) == MEMORY
        self.path = Path(path) if self.memory else Path(path).absolute()
        self.url = f"sqlite://{MEMORY}" if self.memory else f"sqlite:///{self.path}"
        self.durability = durability
        self.faults: Callable[[str], None] | None = None
        self._inline = inline
        self._read_only = read_only
        self._operations = Operations(inline)
        self._writer = Writer(self.path, self.url, self._fault)
        self._scheduled = False
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._idle: list[tuple[Connection, Reader]] = []

    # -- open and close -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; a file that is refused is left untouched."""
        loop = self._operations.loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._open)
        self._accepting = not self._read_only
        if self._accepting and not self._inline:
            self._thread = threading.Thread(target=self._work, name="shoal-store-writer", daemon=True)
            self._thread.start()

    def _open(self) -> None:
        writer = self._writer
        try:
            if self.memory:
                writer.use(connect(self.path, durability=self.durability, create=True))
                schema.create(writer.cx)
                return
            found = check_place(self.path, version=schema.VERSION, url=self.url)
            if self._read_only:
                self._open_for_reading(found)
                return
            writer.lock = WriteLock(self.path, self.url)
            with writer.locked():
                if not check_place(self.path, version=schema.VERSION, url=self.url):
                    self._create()
                writer.use(connect(self.path, durability=self.durability))
                self._bring_up_to_date()
        except (DriverError, OSError) as error:
            self._close()
            raise writer.error(error, "cannot be opened") from error
        except StoreError:
            self._close()
            raise

    def _open_for_reading(self, found: bool) -> None:
        if not found:
            raise StoreError(f"there is no store at {self.path}", url=self.url)
        log = self.path.with_name(f"{self.path.name}-wal")
        left = log.exists() and log.stat().st_size > 0
        connection = connect(self.path)
        self._writer.use(connection)
        if left:  # the last to close would write the log into the file
            leave_log_alone(connection)
        version = self._writer.cx.value("PRAGMA user_version")
        refuse_newer(version, schema.VERSION, self.path, self.url)
        if version < schema.VERSION:
            raise StoreError(
                f"{self.path} has an older schema ({version}) than this version of Shoal reads ({schema.VERSION})",
                url=self.url,
                note="Bring it up to date: a runtime does so at its start, and so does `shoal db migrate`.",
            )
        self._writer.see_all()

    def _create(self) -> None:
        """Make the store beside its place and put it there whole, so that no crash leaves a half."""
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.unlink(missing_ok=True)
        connection = connect(draft, durability="full", create=True)
        try:
            schema.create(Transaction(SqliteDriver(connection)))
        finally:
            connection.close()
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _bring_up_to_date(self) -> None:
        writer = self._writer
        found = writer.cx.value("PRAGMA user_version")
        if found > schema.VERSION and writer.connection is not None:  # told by the log, not yet by the file's header
            leave_log_alone(writer.connection)
            refuse_newer(found, schema.VERSION, self.path, self.url)
        schema.migrate(writer.cx, found)
        writer.see_all()

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait no longer than *seconds* for another process."""
        if self._writer.lock is not None:
            self._writer.lock.hurry(seconds)

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        if not self._accepting:
            if self._read_only:
                self._close()
            return
        self._accepting = False
        if self._thread is None:
            self._flush()
        else:
            self._operations.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._close()

    def crash(self) -> None:
        """Let go of everything as a crash would: nothing is flushed, nobody who waits is answered."""
        self._accepting = False
        self._operations.drop()
        self._close()

    def _close(self) -> None:
        with self._writer.mutex:
            for connection, _ in self._idle:
                connection.close()
            self._idle.clear()
            self._writer.close()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(
        self, fn: Callable[[Transaction, *Ts], T | Refusal], *args: *Ts, bell: Bell | None = None
    ) -> asyncio.Future[T]:
        """Queue ``fn(transaction, *args)`` now; the future ends when it is on disk, or with the error it raised."""
        self._check_accepting()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._operations.put(Operation(fn, args, future, loop))
        if self._inline and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return future

    def write_apart(self, fn: Callable[[Transaction, *Ts], T], *args: *Ts) -> T:
        """Write and wait, without any event loop; from any thread but the loop's (inline: from the loop's)."""
        self._check_accepting()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._operations.put(Operation(fn, args, future, None))
        if self._inline:
            self._flush()
        return future.result()

    def _check_accepting(self) -> None:
        if not self._accepting:
            state = "was opened for reading only" if self._read_only else "is not open"
            raise StoreError(f"the store {self.path} {state}", url=self.url)

    def _work(self) -> None:
        """Write group after group until the end is queued."""
        groups = 0
        while self._write_group():
            groups += 1
            if groups == _BUSY and self.durability == "full":
                self._writer.lay_out_log()

    def _flush(self) -> None:
        """Write all that is queued, on this thread."""
        self._scheduled = False
        while self._operations.waiting():
            self._write_group()

    def _write_group(self) -> bool:
        """Write what is queued, answer, and return False when it was the last."""
        group, more = self._operations.group()
        if group:
            try:
                outcomes, announce = self._writer.write(group)
            except BaseException:
                self.crash()  # a simulated crash: nothing is answered, nothing more is written
                raise
            self._operations.answer(outcomes, announce)
        return more

    def _fault(self, point: str) -> None:
        if self.faults is not None:
            self.faults(point)

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events or announced themselves; returns an undo."""
        return self._operations.on_commit(callback)

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one consistent view of what is committed; from any thread."""
        writer = self._writer
        if writer.connection is None:
            raise StoreError(f"the store {self.path} is not open", url=self.url)
        try:
            if self.memory:
                with writer.mutex:
                    return fn(Reader(SqliteDriver(writer.connection)), *args)
            connection, reader = self._take_reader()
            try:
                reader.rows("BEGIN")
                return fn(reader, *args)
            finally:
                if connection.in_transaction:
                    reader.rows("COMMIT")
                self._return_reader(connection, reader)
        except DriverError as error:
            raise writer.error(error, "could not be read") from error

    def read_soon(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Do what ``read`` does, at once: a file is not waited for."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.set_result(self.read(fn, *args))
        return future

    async def aside(self, read: Callable[[], T]) -> T:
        """Return what *read* returns, at once: a file is not waited for."""
        return read()

    def _take_reader(self) -> tuple[Connection, Reader]:
        try:
            return self._idle.pop()
        except IndexError:
            connection = connect(self.path)
            return connection, Reader(SqliteDriver(connection))

    def _return_reader(self, connection: Connection, reader: Reader) -> None:
        if self._writer.connection is None:
            connection.close()
        else:
            self._idle.append((connection, reader))

    def changed(self) -> bool:
        """Tell whether another connection than this writer has committed since the last call."""
        return self._writer.changed(look=not self.memory)

    def drift(self) -> Drift:
        """Return what tells an operation how wrong this node's clock is: it is not."""
        return lambda cx: 0

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, durability, size in bytes, rows by table."""
        known = {"url": self.url, "schema_version": schema.VERSION, "durability": self.durability}
        return known | self.read(schema.measure)
