"""What may be given as ``conn``: a runtime, or an open store."""

from __future__ import annotations

from typing import TypeAlias

from shoal.kernel.leasing import leasing_of
from shoal.kernel.ports import Clock, Store
from shoal.kernel.verbs import Verbs

__all__ = ["Connection", "check_connection", "clock_of", "store_of"]

Connection: TypeAlias = Verbs | Store
"""An ``AgentRuntime`` or ``Client``, or what ``await shoal.open_store(url)`` returned."""


def check_connection(conn: Connection) -> None:
    """Raise TypeError when *conn* is neither; a runtime need not run yet."""
    if not isinstance(conn, Verbs) and not (hasattr(conn, "conversations") and hasattr(conn, "leases")):
        raise TypeError(
            f"conn must be an AgentRuntime, or a store from `await shoal.open_store(url)`, not {type(conn).__name__}"
        )


def store_of(conn: Connection) -> Store:
    """Return the store. Raises TypeError, RuntimeNotStartedError."""
    check_connection(conn)
    return conn.store if isinstance(conn, Verbs) else conn


def clock_of(conn: Connection) -> Clock:
    """Return the clock of the runtime whose store it is, or for a store alone a real one."""
    return leasing_of(store_of(conn)).clock
