"""One schema of a PostgreSQL database: several readers, one writer with group commit."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from shoal.errors import StoreError
from shoal.kernel.adjusted import AdjustedClock
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bell, Clock, Wire
from shoal.store.postgres import schema, versions
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import advice_for, connect, driver_module, lost_errors
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.intake import Intake
from shoal.store.postgres.lone import Lone
from shoal.store.postgres.patience import Patience
from shoal.store.postgres.readers import Readers
from shoal.store.postgres.session import Session
from shoal.store.postgres.writer import Writer
from shoal.store.sql.database import Drift
from shoal.store.sql.group import Group, Written
from shoal.store.sql.operations import Operation, Operations
from shoal.store.sql.transaction import Reader, Refusal, Transaction

__all__ = ["PostgresDatabase"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name"
_TIME = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_SIZE = """SELECT CAST(coalesce(sum(pg_total_relation_size(CAST(quote_ident(table_name) AS regclass))), 0) AS bigint)
    FROM information_schema.tables WHERE table_schema = current_schema()"""


class PostgresDatabase:
    """``Database`` in one schema of PostgreSQL.

    Args:
        address: database and schema.
        durability: ``full`` (a commit is on disk when it is answered) or ``normal`` (``synchronous_commit = off``: a crash
            of the server may lose the last commits; one of the process loses none).
        read_only: nothing is created, migrated or written.
        clock: this node's. ``clock`` of the database is put right by the server's when it is opened, and by each ``drift``.
    """

    def __init__(
        self, address: Address, *, durability: str = "full", read_only: bool = False, clock: Clock | None = None
    ) -> None:
        self.url = address.url
        self._adjusted = AdjustedClock(clock or RealClock())
        self.clock: Clock = self._adjusted
        self.durability = durability
        self.faults: Callable[[str], None] | None = None
        self._address = address
        self._read_only = read_only
        digest = hashlib.sha256(f"shoal:{address.schema}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._operations = Operations(inline=False)
        self._patience = Patience()
        self._writer = Writer(address, self._key, durability, self._operations, self._fault, self._patience)
        self._lone = lone = Lone(address, self._key, durability, self._fault, self._writer.note)
        self._intake = Intake(self._operations, lone)
        self._readers: Readers | None = None
        self._apart = Session(address, durability, self._patience)
        self._one_apart = threading.Lock()
        self._accepting = False
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Connect, create or migrate. Raises StoreError with what is wrong; what is refused is left untouched."""
        loop = self._operations.loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._prepare, self._bring_up_to_date)
        self._readers = Readers(self._address, self._patience)
        self._writer.known = await loop.run_in_executor(None, self._newest)
        await loop.run_in_executor(None, self._adjusted.set_by, lambda: self.read(Reader.value, _TIME))
        if not self._read_only:
            self._accepting = True
            self._thread = threading.Thread(target=self._work, name="shoal-store-writer", daemon=True)
            self._thread.start()

    async def settle(self) -> None:
        """Take away what only older programs need. Raises StoreError: some are connected, or it is not to be had."""
        await asyncio.get_running_loop().run_in_executor(None, self._prepare, schema.settle)

    def _prepare(self, prepare: Callable[[PostgresDriver, Address], None]) -> None:
        try:
            link = connect(self._address, writes=True)
        except (*lost_errors(), driver_module().PostgresError, ValueError) as error:
            refusal = self._writer.error(error, "cannot be reached")
            if (note := advice_for(error)) is not None:
                refusal.add_note(note)
            raise refusal from error
        try:
            prepare(PostgresDriver(link, self._key), self._address)
        except driver_module().PostgresError as error:
            raise self._writer.error(error, "cannot be opened") from error
        finally:
            link.close()

    def _bring_up_to_date(self, driver: PostgresDriver, address: Address) -> None:
        if not self._read_only:
            schema.bring_up_to_date(driver, address)
        elif (found := schema.version_of(driver, address)) < versions.KNOWN.version:
            what = "there is no store" if not found else f"the store has an older schema ({found})"
            raise StoreError(f"{what} at {self.url}, schema {address.schema}", url=self.url)

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait no longer than *seconds* for a server that is away; and reads. On the loop."""
        self._patience.hurry(seconds)
        self._writer.hurry()
        self._lone.hurry(self._patience.rest)
        self._apart.hurry()
        if self._readers is not None:
            self._readers.hurry()

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        self._accepting = False
        loop = asyncio.get_running_loop()
        if self._thread is not None:
            await self._intake.end()
            self._operations.put(None)
            self._writer.end()
            await loop.run_in_executor(None, self._thread.join)
            self._thread = None
        if self._readers is not None:
            readers, self._readers = self._readers, None
            await loop.run_in_executor(None, readers.close)
        await loop.run_in_executor(None, self._close_apart)

    def _close_apart(self) -> None:
        with self._one_apart:
            self._apart.close()

    def ring_on(self, wire: Wire | None) -> None:
        """Ring the bells of operations that come alone on *wire*."""
        self._lone.wire = wire

    # -- writing ------------------------------------------------------------------------------------------------

    def write(
        self, fn: Callable[[Transaction, *Ts], T | Refusal], *args: *Ts, bell: Bell | None = None
    ) -> asyncio.Future[T]:
        """Queue ``fn(transaction, *args)`` now; the future ends when it is on disk, or with the error it raised."""
        self._check_accepting()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._intake.put(Operation(fn, args, future, loop, bell))
        return future

    def write_apart(self, fn: Callable[[Transaction, *Ts], T], *args: *Ts) -> T:
        """Write and wait, without any event loop; from any thread but the loop's.

        Each statement is a transaction of its own that takes no turn, on a connection that nothing else is done with.
        """
        with self._one_apart:
            self._check_accepting()
            if self._thread is None or not self._thread.is_alive():  # a node that writes nothing is to be given up
                raise StoreError(f"the store {self.url} writes no more: its thread has ended", url=self.url)
            return self._apart.do(lambda driver: fn(Transaction(driver), *args), "could not be written")

    def _check_accepting(self) -> None:
        if not self._accepting:
            state = "was opened for reading only" if self._read_only else "is not open"
            raise StoreError(f"the store {self.url} {state}", url=self.url)

    def _work(self) -> None:
        """Write group after group until the end is queued."""
        more = True
        while more:
            group, more = self._operations.group()
            if group:
                self._operations.answer(*self._write(group))
        self._writer.close()

    def _write(self, group: Group) -> Written:
        try:
            return self._writer.write(group)
        except Exception as error:  # noqa: BLE001 - the others are not to wait for a thread that has ended
            self._writer.drop()
            told = self._writer.error(error, "failed at a write")
            told.__cause__ = error
            return [(operation, told, None) for operation in group], False

    def _fault(self, point: str) -> None:
        if self.faults is not None:
            self.faults(point)

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events or announced themselves; returns an undo."""
        return self._operations.on_commit(callback)

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one state of what is committed; from any thread, which waits for it."""
        if self._readers is None:
            raise StoreError(f"the store {self.url} is not open", url=self.url)
        return self._readers.read(fn, *args)

    def read_soon(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Do what ``read`` does, in a thread, while the loop goes on."""
        if self._readers is None:
            raise StoreError(f"the store {self.url} is not open", url=self.url)
        return asyncio.wrap_future(self._readers.submit(fn, *args))

    async def aside(self, read: Callable[[], T]) -> T:
        """Return what *read* returns, from a thread; the loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(None, read)

    def changed(self) -> bool:
        """Tell whether another node has committed since the last call."""
        return self._writer.others_committed(self._newest())

    def _newest(self) -> int:
        newest: int = self.read(Reader.value, "SELECT number FROM commits")
        return newest

    def drift(self) -> Drift:
        """Return what tells an operation how wrong this node's clock is now."""
        clock, ahead = self._adjusted, self._adjusted.ahead
        return lambda cx: clock.set_by(lambda: cx.value(_TIME)) - ahead

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, durability, size in bytes, rows by table."""
        version, size, rows = self.read(_measure)
        facts: dict[str, object] = {"url": self.url, "schema_version": version, "durability": self.durability}
        return facts | {"size_bytes": size, "rows": rows}


def _measure(reader: Reader) -> tuple[int, int, dict[str, int]]:
    rows = {name: reader.value(f'SELECT count(*) FROM "{name}"') for (name,) in reader.rows(_TABLES)}
    return reader.value("SELECT number FROM schema_version"), reader.value(_SIZE), rows
