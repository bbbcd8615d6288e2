"""The PostgreSQL store."""

from __future__ import annotations

from shoal.kernel.ports import Clock, Wire
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
        clock: this node's; default the real one. The store's ``clock`` is the same, put right by the server's.
    """

    def __init__(
        self, url: str, *, durability: str = "full", read_only: bool = False, clock: Clock | None = None
    ) -> None:
        self.database = PostgresDatabase(address_of(url), durability=durability, read_only=read_only, clock=clock)
        super().__init__(self.database)

    def ring_on(self, wire: Wire | None) -> None:
        """Ring the bells of what comes alone by NOTIFY, in the statement that commits it. Groups do not: who notifies
        holds a lock of the whole server until the disk has it all."""
        self.database.ring_on(wire)

    async def settle(self) -> None:
        """Take away what only programs of older versions need; they are refused from then on. Not while it is open.

        Raises StoreError: some are connected, or the server is not to be had.
        """
        await self.database.settle()
