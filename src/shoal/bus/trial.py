"""A look at the server of a bus from outside: whether it lets this machine in, how fast it answers, what it takes."""

from __future__ import annotations

import msgspec

from shoal.kernel.ports import Clock

__all__ = ["Trial", "try_bus"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. ``where`` is for people: kind, hosts and namespace, never a password."""

    where: str
    round_trip: float  # seconds
    payload_bytes: int  # the most that the server takes at once


async def try_bus(url: str, clock: Clock) -> Trial | None:
    """Reach the server of the bus at *url* as a node would, and leave. No node hears of it, and nothing is stored there.

    Returns None for a bus without a server.

    Raises:
        ConfigError: names every fault of the URL.
        MissingExtraError: the extra ``nats`` or ``postgres`` is not installed.
        BusError: the server cannot be reached, or lets nobody in with this URL.
    """
    scheme = url.partition("://")[0]
    if scheme in ("nats", "tls"):
        from shoal.bus.nats import NatsBroker
        from shoal.bus.places import NatsPlace

        return await NatsBroker(NatsPlace(url), clock).try_out()
    if scheme in ("postgresql", "postgres"):
        from shoal.bus.places import PostgresPlace
        from shoal.bus.postgres_link import try_out

        return await try_out(PostgresPlace(url), clock)
    return None
