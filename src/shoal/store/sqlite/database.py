"""One database: many readers, one writer with group commit.

Many operations share one transaction and one fsync: whatever is queued while the disk is busy is written together next
(the group commit of Gawlick and Kinkade, "Varieties of concurrency control in IMS/VS Fast Path", 1985).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import fcntl
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

from shoal.errors import StoreError
from shoal.store.sqlite import schema
from shoal.store.sqlite.connection import (
    REFUSED,
    Connection,
    DriverError,
    Reader,
    Refusal,
    Transaction,
    connect,
    leave_log_alone,
)
from shoal.store.sqlite.place import check_place, refuse_newer

__all__ = ["Database"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MEMORY = ":memory:"
_LOG_BYTES = 4000 * (4096 + 24)  # what wal_autocheckpoint lets the log grow to: so many pages with their headers
_BUSY = 200  # groups after which a store is written to enough for a log of its whole length
_GROUP = 1000  # the most operations in one transaction, so that the first need not wait for ever


class _Operation(Generic[T]):
    """Something to write, and who waits for it: a coroutine on ``loop``, or a thread."""

    __slots__ = ("args", "fn", "future", "loop")

    def __init__(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        future: asyncio.Future[T] | concurrent.futures.Future[T],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.future = future
        self.loop = loop


Outcome = tuple[_Operation[Any], BaseException | None, Any]


class _SpoiledError(Exception):
    """An operation failed after it had written something."""


class Database:
    """One SQLite file, or one database in memory: many readers, one writer.

    Args:
        path: the file, or ``:memory:``.
        durability: ``full`` (fsync at each commit) or ``normal`` (a power cut may lose the last commits; a crash of
            the process loses none).
        inline: no thread; operations are written on the event loop, as one group, in its next turn. For simulations.
        read_only: nothing is created, migrated or written.
    """

    def __init__(
        self, path: str | Path, *, durability: str = "full", inline: bool = False, read_only: bool = False
    ) -> None:
        self.memory = str(path) == MEMORY
        self.path = Path(path) if self.memory else Path(path).absolute()
        self.url = f"sqlite://{MEMORY}" if self.memory else f"sqlite:///{self.path}"
        self.durability = durability
        self.faults: Callable[[str], None] | None = None
        self._inline = inline
        self._read_only = read_only
        self._queue: queue.SimpleQueue[_Operation[Any] | None] = queue.SimpleQueue()
        self._scheduled = False
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Connection | None = None
        self._cx: Transaction
        self._mutex = threading.RLock()  # held while the writer's connection is in use
        self._lock_fd = -1
        self._idle: list[tuple[Connection, Reader]] = []
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._seen_version = 0
        self._foreign = False

    # -- open and close -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; a file that is refused is left untouched."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self._open)
        self._accepting = not self._read_only
        if self._accepting and not self._inline:
            self._thread = threading.Thread(target=self._work, name="shoal-store-writer", daemon=True)
            self._thread.start()

    def _open(self) -> None:
        try:
            if self.memory:
                self._use(connect(self.path, durability=self.durability, create=True))
                schema.create(self._cx)
                return
            found = check_place(self.path, version=schema.VERSION, url=self.url)
            if self._read_only:
                self._open_for_reading(found)
                return
            self._lock_fd = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with self._locked():
                if not check_place(self.path, version=schema.VERSION, url=self.url):
                    self._create()
                self._use(connect(self.path, durability=self.durability))
                self._bring_up_to_date()
        except (DriverError, OSError) as error:
            self._close()
            raise self._store_error(error, "cannot be opened") from error
        except StoreError:
            self._close()
            raise

    def _open_for_reading(self, found: bool) -> None:
        if not found:
            raise StoreError(f"there is no store at {self.path}", url=self.url)
        log = self.path.with_name(f"{self.path.name}-wal")
        left = log.exists() and log.stat().st_size > 0
        self._use(connect(self.path))
        if left and self._writer is not None:  # the last to close would write the log into the file
            leave_log_alone(self._writer)
        version = self._cx.value("PRAGMA user_version")
        refuse_newer(version, schema.VERSION, self.path, self.url)
        if version < schema.VERSION:
            raise StoreError(
                f"{self.path} has an older schema ({version}) than this version of Shoal reads ({schema.VERSION})",
                url=self.url,
                note="Bring it up to date: a runtime does so at its start, and so does `shoal db migrate`.",
            )
        self._seen_version = self._cx.value("PRAGMA data_version")

    def _use(self, writer: Connection) -> None:
        self._writer = writer
        self._cx = Transaction(writer)

    def _create(self) -> None:
        """Make the store beside its place and put it there whole, so that no crash leaves a half."""
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.unlink(missing_ok=True)
        connection = connect(draft, durability="full", create=True)
        try:
            schema.create(Transaction(connection))
        finally:
            connection.close()
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _bring_up_to_date(self) -> None:
        found = self._cx.value("PRAGMA user_version")
        if found > schema.VERSION and self._writer is not None:  # told by the log, not yet by the file's header
            leave_log_alone(self._writer)
            refuse_newer(found, schema.VERSION, self.path, self.url)
        schema.migrate(self._cx, found)
        self._seen_version = self._cx.value("PRAGMA data_version")

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
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._close()

    def crash(self) -> None:
        """Let go of everything as a crash would: nothing is flushed, nobody who waits is answered."""
        self._accepting = False
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)  # ends the thread
        self._close()

    def _close(self) -> None:
        with self._mutex:
            for connection, _ in self._idle:
                connection.close()
            self._idle.clear()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, fn: Callable[[Transaction, *Ts], T | Refusal], *args: *Ts) -> asyncio.Future[T]:
        """Queue ``fn(transaction, *args)`` now; the future ends when it is on disk, or with the error it raised.

        *fn* checks first and raises before it writes anything. It may be run again when its group fails.
        """
        self._check_accepting()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Operation(fn, args, future, loop))
        if self._inline and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return future

    def write_blocking(self, fn: Callable[[Transaction, *Ts], T], *args: *Ts) -> T:
        """Write and wait, without any event loop; from any thread but the loop's (inline: from the loop's)."""
        self._check_accepting()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._queue.put(_Operation(fn, args, future, None))
        if self._inline:
            self._flush()
        return future.result()

    def _check_accepting(self) -> None:
        if not self._accepting:
            state = "was opened for reading only" if self._read_only else "is not open"
            raise StoreError(f"the store {self.path} {state}", url=self.url)

    def _work(self) -> None:
        """Write group after group until the end is queued."""
        more = True
        groups = 0
        while more:
            group, more = self._gather(self._queue.get())
            if group:
                self._run_group(group)
                groups += 1
                if groups == _BUSY and self.durability == "full":
                    self._lay_out_log()

    def _lay_out_log(self) -> None:
        """Write the rest of the log's length once. A commit that overwrites has no new blocks to note: half the time."""
        zeros = bytes(1024 * 1024)  # behind the last frame: recovery ends at the first that is not valid
        with suppress(DriverError, OSError), self._mutex, self._locked():  # without it all works, only slower
            self._cx.begin()  # nobody else lengthens the log meanwhile
            try:
                with open(f"{self.path}-wal", "r+b", buffering=0) as log:
                    for place in range(log.seek(0, os.SEEK_END), _LOG_BYTES, len(zeros)):
                        os.pwrite(log.fileno(), zeros[: _LOG_BYTES - place], place)
            finally:
                self._cx.rollback()

    def _flush(self) -> None:
        """Write all that is queued, on this thread."""
        self._scheduled = False
        while not self._queue.empty():
            group, _ = self._gather(self._queue.get())
            self._run_group(group)

    def _gather(self, first: _Operation[Any] | None) -> tuple[list[_Operation[Any]], bool]:
        group: list[_Operation[Any]] = []
        operation = first
        while operation is not None:
            group.append(operation)
            if len(group) == _GROUP:
                return group, True
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _run_group(self, group: list[_Operation[Any]]) -> None:
        try:
            with self._mutex:
                outcomes, announce = self._write_together(group)
        except BaseException:
            self.crash()  # a simulated crash: nothing is answered, nothing more is written
            raise
        self._answer(outcomes, announce)

    def _write_together(self, group: list[_Operation[Any]]) -> tuple[list[Outcome], bool]:
        try:
            return self._transact(group)
        except (_SpoiledError, DriverError, OSError) as error:
            if len(group) == 1 or isinstance(error, (*REFUSED, OSError)):
                failure = self._failure(error)
                return [(operation, failure, None) for operation in group], False
        outcomes: list[Outcome] = []
        announce = False
        for operation in group:
            alone, heard = self._write_together([operation])
            outcomes += alone
            announce = announce or heard
        return outcomes, announce

    def _transact(self, group: list[_Operation[Any]]) -> tuple[list[Outcome], bool]:
        cx = self._cx
        with self._locked():
            try:
                cx.begin()
                if cx.value("PRAGMA data_version") != self._seen_version:
                    self._note_foreign()
                outcomes = [self._apply(cx, operation) for operation in group]
                announce = cx.flush()
                self._fault("before_commit")
                cx.commit()
            except BaseException:
                cx.rollback()
                raise
        self._fault("after_commit")
        return outcomes, announce

    def _apply(self, cx: Transaction, operation: _Operation[Any]) -> Outcome:
        before = cx.mark()
        try:
            value = operation.fn(cx, *operation.args)
        except DriverError:
            raise
        except Exception as error:
            if cx.mark() != before:
                raise _SpoiledError from error
            return operation, error, None
        if type(value) is Refusal:
            return operation, value.error, None
        return operation, None, value

    def _failure(self, error: Exception) -> BaseException:
        if isinstance(error, _SpoiledError) and error.__cause__ is not None:
            return error.__cause__
        failure = self._store_error(error, "refused the write")
        failure.__cause__ = error
        return failure

    def _store_error(self, error: Exception, what: str) -> StoreError:
        return StoreError(f"the store {self.path} {what}: {error}", url=self.url)

    def _fault(self, point: str) -> None:
        if self.faults is not None:
            self.faults(point)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes waiting in order; SQLite's own waiting sleeps and is unfair."""
        if self._lock_fd < 0:
            yield
            return
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # -- answering ----------------------------------------------------------------------------------------------

    def _answer(self, outcomes: list[Outcome], announce: bool) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
        for outcome in outcomes:
            operation, error, value = outcome
            if operation.loop is not None:
                by_loop.setdefault(operation.loop, []).append(outcome)
            elif error is not None:
                operation.future.set_exception(error)
            else:
                operation.future.set_result(value)
        if announce and self._loop is not None:
            by_loop.setdefault(self._loop, [])
        for loop, answers in by_loop.items():
            heard = announce and loop is self._loop
            if self._inline:
                self._deliver(answers, heard)
            else:
                with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(self._deliver, answers, heard)

    def _deliver(self, answers: list[Outcome], announce: bool) -> None:
        for operation, error, value in answers:
            future = operation.future
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        if announce:
            for callback in tuple(self._callbacks.values()):
                callback()

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events or announced themselves; returns an undo."""
        key = object()
        self._callbacks[key] = callback
        return lambda: self._callbacks.pop(key, None) and None

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one consistent view of what is committed; from any thread."""
        if self._writer is None:
            raise StoreError(f"the store {self.path} is not open", url=self.url)
        try:
            if self.memory:
                with self._mutex:
                    return fn(Reader(self._writer), *args)
            connection, reader = self._take_reader()
        except DriverError as error:
            raise self._store_error(error, "could not be read") from error
        try:
            reader.rows("BEGIN")
            return fn(reader, *args)
        except DriverError as error:
            raise self._store_error(error, "could not be read") from error
        finally:
            if connection.in_transaction:
                reader.rows("COMMIT")
            self._return_reader(connection, reader)

    def _take_reader(self) -> tuple[Connection, Reader]:
        try:
            return self._idle.pop()
        except IndexError:
            connection = connect(self.path)
            return connection, Reader(connection)

    def _return_reader(self, connection: Connection, reader: Reader) -> None:
        if self._writer is None:
            connection.close()
        else:
            self._idle.append((connection, reader))

    def changed(self) -> bool:
        """Tell whether another connection than this writer has committed since the last call."""
        # The writer's own commits do not show in its data_version. While it writes it looks for itself.
        if not self.memory and self._writer is not None and self._mutex.acquire(blocking=False):
            try:
                if self._cx.value("PRAGMA data_version") != self._seen_version:
                    self._note_foreign()
            finally:
                self._mutex.release()
        foreign, self._foreign = self._foreign, False
        return foreign

    def _note_foreign(self) -> None:
        self._seen_version = self._cx.value("PRAGMA data_version")
        self._foreign = True
