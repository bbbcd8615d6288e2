"""The buses: live messages and bells between the agents of one node, and between nodes."""

from __future__ import annotations

from pathlib import Path

from shoal.errors import ConfigError, nearest
from shoal.kernel.ports import Bus, Clock

__all__ = ["open_bus"]

_NOT_BUILT = ("postgresql", "postgres", "nats")


def open_bus(url: str, *, clock: Clock, folder: Path | None = None) -> Bus:
    """Return the bus that *url* names, not started.

    Args:
        url: ``local://``.
        clock: the time source of the runtime.
        folder: where the nodes on one store meet; None keeps a local bus within this process.

    Raises:
        ConfigError: the scheme is unknown, or not built in this version.
    """
    scheme, separator, rest = url.partition("://")
    if scheme in _NOT_BUILT:
        raise ConfigError(f"bus: {scheme}:// is not built in this version; use local://")
    if scheme != "local" or not separator:
        raise ConfigError(f"bus: {url[:80]!r} names no known bus{nearest(scheme, ('local',))}; allowed: local://")
    if rest:
        raise ConfigError(f"bus: {url[:80]!r} has a part too many; local:// stands alone")
    from shoal.bus.local import LocalBus

    return LocalBus(clock, folder)
