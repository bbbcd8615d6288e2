"""Stores, by URL. Only the backend that is asked for is imported."""

from __future__ import annotations

from shoal.errors import ConfigError
from shoal.kernel.ports import Store

__all__ = ["open_store"]


def open_store(url: str, *, durability: str = "full", inline: bool = False, read_only: bool = False) -> Store:
    """Return the store at *url*, not yet opened: ``sqlite:///FILE`` or ``sqlite://:memory:``.

    Args:
        url: the place. ``sqlite:////var/lib/shoal.db`` is an absolute path, ``sqlite:///./shoal.db`` a relative one.
        durability: ``full``: what is acknowledged survives a power cut; ``normal``: it survives the end of the process.
        inline: write on the event loop instead of in a thread, for simulations in virtual time.
        read_only: open what is there, and create, migrate and write nothing.

    Raises:
        ConfigError: unknown scheme or durability, or no file is named.
    """
    if durability not in ("full", "normal"):
        raise ConfigError(f"durability must be full or normal, not {durability!r:.80}")
    if url == "sqlite://:memory:":
        path = ":memory:"
    elif url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        path = url.removeprefix("sqlite:///")
    else:
        raise ConfigError(f"store must be sqlite:///FILE or sqlite://:memory:, not {url!r:.80}")
    from shoal.store.sqlite.store import SqliteStore

    return SqliteStore(path, durability=durability, inline=inline, read_only=read_only)
