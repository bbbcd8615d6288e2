"""The only place that knows PostgreSQL's driver: connections, and waiting for them.

A thread that reads or writes has a connection and an event loop of its own and waits for each statement there. So the
nouns are plain functions here as they are over SQLite, and no loop of agents ever waits for the network.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import MissingExtraError, StoreError
from shoal.store.postgres import versions
from shoal.store.postgres.address import Address
from shoal.store.postgres.patience import Patience

if TYPE_CHECKING:
    import asyncpg

__all__ = [
    "Link", "advice_for", "connect", "crossed_errors", "driver_module", "held_errors", "lost_errors",
    "lost_in_commit", "open_connection", "said",
]  # fmt: skip

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_FAREWELL_SECONDS = 0.05
_TURNS = 3  # of a loop, in which it reads a last word and closes
_WRITTEN_SECONDS = 40.0  # above the server's own limit: only a network that was cut lets it come so far
_READ_SECONDS = 5.0  # whoever reads is, as a rule, a loop of agents
# A writer looks at few rows, all of them by an index. Plans are made when tables are small, and kept when they have grown.
_BY_INDEX = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "plan_cache_mode": "force_generic_plan",
}  # fmt: skip
_SETTINGS = {
    "application_name": "shoal",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    # A node that is stopped inside a transaction lets go of its locks by this, before those who wait for them give up.
    "idle_in_transaction_session_timeout": "5s",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
# The server counts a session as idle only between two commands, so one that is stopped in the midst of one is ended by this.
_BOUNDED, _BOUNDED_FROM = "SET transaction_timeout = '9s'", 17


def driver_module() -> Any:
    """Return the module ``asyncpg``. Raises MissingExtraError."""
    try:
        import asyncpg
    except ImportError as error:
        raise MissingExtraError("postgres", "a store in PostgreSQL") from error
    return asyncpg


def lost_errors() -> tuple[type[Exception], ...]:
    """Return the errors that say that the server is not to be reached, or has gone."""
    asyncpg = driver_module()
    return (
        OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError, asyncpg.IdleInTransactionSessionTimeoutError,
        asyncpg.TransactionTimeoutError, asyncpg.TooManyConnectionsError, asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InternalClientError,  # the server's last word came in one piece with an answer: nobody waited for it
    )  # fmt: skip


def advice_for(error: Exception) -> str | None:
    """Return what can be done where no connection was made because of *error*; None where the server's words must do."""
    asyncpg = driver_module()
    if isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)):
        return "Give user, password and database in the URL of the store, as the server knows them."
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "The server is starting or ending; try again in a moment."
    if isinstance(error, (OSError, TimeoutError)):
        return "Start the server, or correct host, port and options in the URL of the store (SHOAL_STORE, --store)."
    return None


def crossed_errors() -> tuple[type[Exception], ...]:
    """Return the errors that say that two transactions were in each other's way."""
    asyncpg = driver_module()
    return asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError


def held_errors() -> tuple[type[Exception], ...]:
    """Return the errors that say that somebody else has held a lock for too long."""
    return (driver_module().LockNotAvailableError,)


def said(error: BaseException) -> str:
    """Return what an error says, in words also when it says nothing."""
    return str(error) or ("it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def lost_in_commit(address: Address, cause: BaseException | None) -> StoreError:
    """Return the error for a commit of which it is not known whether it came about."""
    text = "was lost during a commit, and is still away: what was being written may be stored or not"
    error = StoreError(f"the store {address.url} {text}", url=address.url)
    error.__cause__ = cause
    return error


class Link:
    """One connection and the event loop in which a thread waits for it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: asyncpg.Connection, patience: Patience | None = None
    ) -> None:
        self.connection = connection
        self._loop = loop
        self._patience = patience
        self._cut: asyncio.TimerHandle | None = None
        self._gave_up = False
        self._poll = select.poll()
        self._poll.register(connection._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def wait(self, answer: Awaitable[T]) -> T:
        """Wait for an answer of the server."""
        if self._patience is None or not self._patience.hurried:
            return self._loop.run_until_complete(_answer(answer))
        self._be_cut()
        try:
            return self._loop.run_until_complete(_answer(answer))
        except lost_errors():
            if self._gave_up:
                raise TimeoutError from None
            raise
        finally:
            if self._cut is not None:
                self._cut.cancel()

    def hurry(self) -> None:
        """Hear that the patience has to hurry: an answer for which it is over is given up, and the connection with it, also
        one that is waited for now. From any thread."""
        with suppress(RuntimeError):  # it was dropped, and its loop is closed
            self._loop.call_soon_threadsafe(self._be_cut)

    def _be_cut(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        if self._patience is not None:
            self._cut = self._loop.call_later(self._patience.rest, self._give_up)

    def _give_up(self) -> None:
        self._gave_up = True
        self.connection.terminate()

    @property
    def alive(self) -> bool:
        """Tell whether the connection is open, as far as this machine knows.

        Nobody waits for it between two groups, so what came meanwhile is read first: the server's farewell, say. What is
        sent into a connection that has ended would leave open whether it was carried out.
        """
        if not self.connection.is_closed() and self._poll.poll(0):
            for _ in range(_TURNS):
                _turn(self._loop)
        return not self.connection.is_closed()

    def close(self) -> None:
        """Take leave of the server, or drop the connection when it does not listen."""
        with suppress(*lost_errors()):
            self.wait(self.connection.close(timeout=1.0))
        self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word."""
        self.connection.terminate()
        _end(self._loop)


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)  # the driver may be asking the server to give a statement up
    for each in left:
        each.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    _turn(loop)  # in which the connection is closed
    loop.close()


async def _answer(answer: Awaitable[T]) -> T:
    return await answer


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for one connection: uvloop's, where it is installed, takes half the time for a round trip."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def open_connection(
    address: Address, *, durability: str = "full", writes: bool = False, patience: Patience | None = None
) -> asyncpg.Connection:
    """Connect to whichever server of *address* takes writes, in the running loop.

    Args:
        address: database and schema.
        durability: ``full``: a commit is on disk when it is answered; ``normal``: soon after.
        writes: it is for the operations of a writer.
        patience: of whoever waits for it.
    """
    rest = patience.rest if patience is not None and patience.hurried else None
    asyncpg = driver_module()
    settings = {**_SETTINGS, "search_path": address.schema, **(_BY_INDEX if writes else {})}
    if durability == "normal":
        settings["synchronous_commit"] = "off"

    async def open_at(url: str, seconds: float) -> Any:
        return await asyncpg.connect(
            url,
            timeout=seconds,
            command_timeout=_WRITTEN_SECONDS if writes else _READ_SECONDS,
            statement_cache_size=1000,
            server_settings=settings,
            target_session_attrs="read-write",
        )

    connection: Any = await address.hosts.first(open_at, min(_CONNECT_SECONDS, rest or _CONNECT_SECONDS), lost_errors())
    first = f"SELECT pg_advisory_lock_shared({versions.presence(address.schema)}, {versions.KNOWN.version})"
    if writes and connection.get_server_version().major >= _BOUNDED_FROM:
        first = f"{_BOUNDED}; {first}"
    try:
        await connection.execute(first, timeout=rest)
    except BaseException:
        connection.terminate()
        raise
    return connection


def connect(
    address: Address, *, durability: str = "full", writes: bool = False, patience: Patience | None = None
) -> Link:
    """Do what ``open_connection`` does, for a thread that waits."""
    loop = _new_loop()
    try:
        opened = open_connection(address, durability=durability, writes=writes, patience=patience)
        return Link(loop, loop.run_until_complete(opened), patience)
    except BaseException as error:
        if isinstance(error, driver_module().PostgresError):
            # The server has spoken, so there is a connection, which closes now.
            loop.call_later(_FAREWELL_SECONDS, loop.stop)
            loop.run_forever()
        _end(loop)
        raise
