"""What the nouns need of a database: operations that are written in the order of their calls, and reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from shoal.kernel.ports import Bell, Clock
from shoal.store.sql.transaction import Reader, Refusal, Transaction

__all__ = ["Database", "Drift"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Drift = Callable[[Transaction], int]
"""Puts this node's clock right, in a round trip; returns by how many microseconds it was behind when this was made."""


class Database(Protocol):
    """One database: many readers, operations of many askers in one transaction."""

    url: str
    clock: Clock

    async def open(self) -> None:
        """Open, create or migrate; see ``Store.open``."""
        ...

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait no longer than *seconds* for what holds them up; see ``Store.hurry``."""
        ...

    async def close(self) -> None:
        """Write what was accepted, then close."""
        ...

    def write(
        self, fn: Callable[[Transaction, *Ts], T | Refusal], *args: *Ts, bell: Bell | None = None
    ) -> asyncio.Future[T]:
        """Queue ``fn(transaction, *args)`` now; the future ends when it is on disk, or with the error it raised. *bell* may
        ring with its commit.

        *fn* checks first and raises before it writes anything. It may be run again when its group fails.
        """
        ...

    def write_apart(self, fn: Callable[[Transaction, *Ts], T], *args: *Ts) -> T:
        """Write rows that are the caller's own, and wait, without any event loop; from any thread but the loop's.

        Where the database has several writers each statement is a transaction of its own. It waits for nobody who does not
        write these rows: not for a node that has stopped in the midst of a transaction, nor for the groups of this one.
        *fn* may be run twice, and what it sends may be carried out after what a later call has written.
        """
        ...

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)``, read in one consistent view. Blocks for its queries."""
        ...

    def read_soon(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Do what ``read`` does; where that waits for a server, the loop goes on meanwhile."""
        ...

    async def aside(self, read: Callable[[], T]) -> T:
        """Return what *read* returns, which calls ``read`` and ``changed``; where these wait for a server, the loop goes on
        meanwhile."""
        ...

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events or announced themselves; returns an undo."""
        ...

    def changed(self) -> bool:
        """Tell whether another process has committed since the last call."""
        ...

    def drift(self) -> Drift:
        """Return what tells an operation how wrong this node's clock is now, beside the one of all nodes.

        For operations that take from others what they still have, by a time that was read a moment ago.
        """
        ...

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, durability, size in bytes, rows by table."""
        ...
