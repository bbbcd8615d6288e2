"""The PostgreSQL store."""

from __future__ import annotations

from shoal.store.postgres.address import address_of
from shoal.store.postgres.database import PostgresDatabase
from shoal.store.sql.store import SqlStore

__all__ = ["PostgresStore"]


class PostgresStore(SqlStore):
    """``Store`` in one schema of a PostgreSQL database (15 or newer).

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME``; the schema is ``shoal`` unless it is named.
        durability: ``full`` (a commit is on disk when it is answered) or ``normal``.
        read_only: create, migrate and write nothing.
    """

    def __init__(self, url: str, *, durability: str = "full", read_only: bool = False) -> None:
        self.database = PostgresDatabase(address_of(url), durability=durability, read_only=read_only)
        super().__init__(self.database)
