"""Stores, by URL. Only the backend that is asked for is imported."""

from __future__ import annotations

from shoal.config import shown
from shoal.errors import ConfigError, nearest
from shoal.kernel.ports import Clock, Store

__all__ = ["open_store", "settle"]

_SCHEMES = ("sqlite", "postgresql", "postgres")


def open_store(
    url: str,
    *,
    durability: str = "full",
    inline: bool = False,
    read_only: bool = False,
    clock: Clock | None = None,
) -> Store:
    """Return the store at *url*, not yet opened.

    Args:
        url: the place: ``sqlite:////var/lib/shoal.db`` (an absolute path), ``sqlite:///./shoal.db`` (a relative one),
            ``sqlite://:memory:``, or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME``.
        durability: ``full``: what is acknowledged survives a power cut; ``normal``: it survives the end of the process.
        inline: write on the event loop instead of in a thread, for simulations in virtual time; SQLite only.
        read_only: open what is there, and create, migrate and write nothing.
        clock: this node's; default the real one. Whoever calls verbs of the store gives them times of ``Store.clock``.

    Raises:
        ConfigError: unknown scheme or durability, or no file or database is named.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    if durability not in ("full", "normal"):
        raise ConfigError(f"durability must be full or normal, not {durability!r:.80}")
    scheme = url.partition("://")[0]
    if scheme in ("postgresql", "postgres"):
        if inline:
            raise ConfigError("store: virtual time needs a store in SQLite: a server keeps its own time")
        from shoal.store.postgres.store import PostgresStore

        return PostgresStore(url, durability=durability, read_only=read_only, clock=clock)
    from shoal.store.sqlite.store import SqliteStore

    return SqliteStore(_path(url, scheme), durability=durability, inline=inline, read_only=read_only, clock=clock)


async def settle(url: str) -> None:
    """Take away from the store at *url* what only programs of older versions need; they are refused from then on.

    A file has nothing of the kind: whoever opens it brings it up to date at once.

    Raises:
        StoreError: programs of an older version are connected; nothing has changed.
    """
    if url.partition("://")[0] in ("postgresql", "postgres"):
        from shoal.store.postgres.store import PostgresStore

        await PostgresStore(url).settle()


def _path(url: str, scheme: str) -> str:
    if url == "sqlite://:memory:":
        return ":memory:"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return url.removeprefix("sqlite:///")
    raise ConfigError(
        f"store must be sqlite:///FILE, sqlite://:memory: or postgresql://HOST/DATABASE, not {shown(url)!r:.80}"
        f"{nearest(scheme, _SCHEMES) if '://' in url else '; a path is written sqlite:///PATH'}"
    )
