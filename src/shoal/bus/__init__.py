"""The buses: live messages and bells between the agents of one node, and between nodes."""

from __future__ import annotations

from pathlib import Path

from shoal.errors import ConfigError, nearest
from shoal.kernel.ports import Bus, Clock

__all__ = ["open_bus"]

_SCHEMES = ("local", "nats", "tls", "postgresql", "postgres")


def open_bus(url: str, *, clock: Clock, folder: Path | None = None) -> Bus:
    """Return the bus that *url* names, not started.

    Args:
        url: ``local://``; ``nats://[user:password@|token@]host:port/NAMESPACE``, or ``tls://`` for the same over TLS, with
            the options ``namespace``, ``creds``, ``nkey``, ``ca``, ``cert`` and ``key``; or
            ``postgresql://user:password@host:port/database?schema=NAME`` with the options of PostgreSQL. Several hosts
            stand side by side, by commas.
        clock: the time source of the runtime.
        folder: where the nodes on one store meet; None keeps a local bus within this process.

    Raises:
        ConfigError: names every fault of the URL.
        MissingExtraError: the extra ``nats`` or ``postgres`` is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator:
        shown = f"{scheme}{separator}{rest.rpartition('@')[2]}"[:80]  # nothing before the @: a token may stand there
        raise ConfigError(
            f"bus: {shown!r} names no known bus{nearest(scheme, _SCHEMES)}; allowed: local://, nats://, tls://, postgresql://"
        )
    if scheme == "local":
        if rest:
            raise ConfigError(f"bus: {url[:80]!r} has a part too many; local:// stands alone")
        from shoal.bus.local import LocalBus

        return LocalBus(clock, folder)
    if scheme in ("nats", "tls"):
        from shoal.bus.nats import NatsBus

        return NatsBus(url, clock)
    from shoal.bus.postgres import PostgresBus

    return PostgresBus(url, clock)
