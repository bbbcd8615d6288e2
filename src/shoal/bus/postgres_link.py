"""Connections of the bus to a PostgreSQL server: how they are made, and what is said when there is none."""

from __future__ import annotations

import asyncio
from typing import Any

from shoal.bus.parcels import NOTIFY_BYTES
from shoal.bus.places import PostgresPlace
from shoal.bus.trial import Trial
from shoal.errors import BusError, MissingExtraError
from shoal.kernel.ports import Clock

try:
    import asyncpg
except ModuleNotFoundError as error:
    raise MissingExtraError("postgres", "the bus postgresql://") from error

__all__ = ["CONNECT_SECONDS", "ERRORS", "connect", "refused", "text_of", "try_out"]

CONNECT_SECONDS = 5
# The internal error comes when the server has just closed the connection.
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

_COMMAND_SECONDS = 5.0
_AWAY = (asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.InternalClientError, OSError)
_SETTINGS = {
    "application_name": "shoal bus",
    "synchronous_commit": "off",  # nothing of a notification is to survive a crash
    "tcp_keepalives_idle": "2",  # so that the server soon knows of a node that is cut off
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",  # and does not keep for long what a frozen one leaves unread
}


async def connect(place: PostgresPlace) -> Any:
    """Return a connection to the first of the hosts that answers and takes writes. Raises one of ERRORS."""
    return await place.hosts.first(_open, CONNECT_SECONDS - 1, _AWAY)


async def _open(url: str, seconds: float) -> Any:
    how: dict[str, Any] = {"command_timeout": _COMMAND_SECONDS, "server_settings": _SETTINGS, "timeout": seconds}
    return await asyncpg.connect(url, target_session_attrs="primary", **how)


async def try_out(place: PostgresPlace, clock: Clock) -> Trial:
    """Connect, have a notification come back, and leave. Raises BusError."""
    connection: Any = None
    try:
        async with clock.timeout(CONNECT_SECONDS):
            connection = await connect(place)
            channel, back = f"shoal.{clock.new_id()}", asyncio.Event()
            await connection.add_listener(channel, lambda *_: back.set())
            before = clock.monotonic()
            await connection.execute("SELECT pg_notify($1, '')", channel)
            await back.wait()
            took = clock.monotonic() - before
            await connection.close(timeout=1)
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, ERRORS):
            raise refused(place, error) from error
        raise
    return Trial(where=f"{place.where}, schema {place.schema}", round_trip=took, payload_bytes=NOTIFY_BYTES)


def refused(place: PostgresPlace, error: BaseException) -> BusError:
    """Return what is said when no connection was made, or nothing can be done with it."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        return BusError(
            f"{place.where} refused this node: {text_of(error)}",
            note="Give user, password and database in the URL of the bus, as the server knows them.",
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return BusError(
            f"{place.where} refused this node: {text_of(error)}",
            note=f"Let the user create the schema {place.schema}, or make it and allow tables in it.",
        )
    return BusError(
        f"{place.where} cannot be reached: {text_of(error)}",
        note="Start the server, or correct host, port and options in the URL.",
    )


def text_of(error: BaseException) -> str:
    """Return what an error says, else its kind."""
    return str(error) or type(error).__name__
