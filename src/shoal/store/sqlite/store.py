"""The SQLite store."""

from __future__ import annotations

from shoal.kernel.ports import Clock
from shoal.store.sql.store import SqlStore
from shoal.store.sqlite.database import SqliteDatabase

__all__ = ["SqliteStore"]


class SqliteStore(SqlStore):
    """``Store`` in one SQLite file, or in memory.

    Args:
        path: the file, or ``:memory:``.
        durability: ``full`` (fsync at each commit) or ``normal``.
        inline: write on the event loop instead of in a thread, for simulations.
        read_only: create, migrate and write nothing.
        clock: this node's; default the real one. All nodes on a file are on one machine, so it is that of all.
    """

    def __init__(
        self,
        path: str,
        *,
        durability: str = "full",
        inline: bool = False,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.database = SqliteDatabase(path, durability=durability, inline=inline, read_only=read_only, clock=clock)
        super().__init__(self.database)
