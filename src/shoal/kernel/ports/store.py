"""The store: everything durable, by noun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

from shoal.kernel.ports.agents import AgentStore
from shoal.kernel.ports.bus import Wire
from shoal.kernel.ports.clock import Clock
from shoal.kernel.ports.conversations import Conversations
from shoal.kernel.ports.events import Events
from shoal.kernel.ports.journal import Journal
from shoal.kernel.ports.kv import KV
from shoal.kernel.ports.leases import Leases
from shoal.kernel.ports.mail import Mail
from shoal.kernel.ports.runs import RunStore
from shoal.kernel.ports.tasks import TaskStore

__all__ = ["Store"]

T = TypeVar("T")


class Store(Protocol):
    """Everything durable, by noun.

    ``clock`` is the one by which the times that its verbs are given, and return, are meant: every node's own agrees with
    those of all others on the store, whatever the wall clocks of their machines say.
    """

    url: str
    clock: Clock
    tasks: TaskStore
    agents: AgentStore
    mail: Mail
    journal: Journal
    events: Events
    kv: KV
    leases: Leases
    conversations: Conversations
    runs: RunStore

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; a foreign or newer file is left untouched."""
        ...

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait no longer than *seconds* from now for a server that is away, or for another process
        that holds the store up; those that come later are tried once. As a rule each write has a patience of its own.

        On the loop. The last call counts.
        """
        ...

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        ...

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits of this process that wrote events, shared values or news of runs;
        returns an undo."""
        ...

    def ring_on(self, wire: Wire | None) -> None:
        """Ring the bells of writes with their commits, on the channels of a bus in the same database, where that is no
        detour; None: there is no such bus. Before ``open``."""
        ...

    def changed(self) -> bool:
        """Tell whether another process has committed since the last call."""
        ...

    async def aside(self, read: Callable[[], T]) -> T:
        """Return what *read* returns, which calls verbs of this store that only read.

        Where these wait for a server, the loop goes on meanwhile: for what a node does by itself, again and again.
        """
        ...

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, size in bytes, rows by table, durability."""
        ...

    def prune(self, before: datetime, *, limit: int = 1000) -> Awaitable[dict[str, int]]:
        """Remove up to *limit* each of finished tasks (no unfinished task depends on), runs that ended with all they
        have, events and dead letters older than *before*, and of nodes found dead before then."""
        ...
