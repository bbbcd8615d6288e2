"""The nouns over one database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from shoal.kernel.clock import epoch
from shoal.kernel.ports import KV, AgentStore, Conversations, Events, Journal, Leases, Mail, RunStore, TaskStore, Wire
from shoal.store.sql.agents import SqlAgents
from shoal.store.sql.conversations import SqlConversations
from shoal.store.sql.database import Database
from shoal.store.sql.dead_letters import prune_dead_letters
from shoal.store.sql.events import SqlEvents, prune_events
from shoal.store.sql.journal import SqlJournal
from shoal.store.sql.kv import SqlKV, prune_kv
from shoal.store.sql.leases import SqlLeases, prune_nodes
from shoal.store.sql.mail import SqlMail, prune_mail_tombstones
from shoal.store.sql.named_leases import forget
from shoal.store.sql.run_past import prune_runs
from shoal.store.sql.runs import SqlRuns
from shoal.store.sql.tasks import SqlTasks, prune_tasks
from shoal.store.sql.transaction import Transaction

__all__ = ["SqlStore"]

T = TypeVar("T")


class SqlStore:
    """``Store`` over a database.

    Args:
        database: where everything is; its ``url`` is the store's.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self.url = database.url
        self.clock = database.clock
        self.tasks: TaskStore = SqlTasks(database)
        self.agents: AgentStore = SqlAgents(database)
        self.mail: Mail = SqlMail(database)
        self.journal: Journal = SqlJournal(database)
        self.events: Events = SqlEvents(database)
        self.kv: KV = SqlKV(database)
        self.leases: Leases = SqlLeases(database)
        self.conversations: Conversations = SqlConversations(database)
        self.runs: RunStore = SqlRuns(database)

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; what is foreign or newer is left untouched."""
        await self._db.open()

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait no longer than *seconds* for what holds them up."""
        self._db.hurry(seconds)

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        await self._db.close()

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events, shared values or news of runs; returns an undo."""
        return self._db.on_commit(callback)

    def ring_on(self, wire: Wire | None) -> None:
        """Leave all bells to those who ask for writes: this database wakes nobody."""

    def changed(self) -> bool:
        """Tell whether another process has committed since the last call."""
        return self._db.changed()

    async def aside(self, read: Callable[[], T]) -> T:
        """Return what *read* returns; where that waits for a server, the loop goes on meanwhile."""
        return await self._db.aside(read)

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, size in bytes, rows by table, durability."""
        return self._db.info()

    async def prune(self, before: datetime, *, limit: int = 1000) -> dict[str, int]:
        """Remove up to *limit* each of finished tasks and runs, events, dead letters and lost nodes older than *before*."""
        return await self._db.write(_prune, before, limit)


def _prune(cx: Transaction, before: datetime, limit: int) -> dict[str, int]:
    prune_mail_tombstones(cx, before, limit)
    prune_kv(cx, before, limit)
    forget(cx, epoch(before), limit)
    return {
        "tasks": prune_tasks(cx, before, limit),
        "runs": prune_runs(cx, before, limit),
        "events": prune_events(cx, before, limit),
        "dead_letters": prune_dead_letters(cx, before, limit),
        "nodes": prune_nodes(cx, before, limit),
    }
