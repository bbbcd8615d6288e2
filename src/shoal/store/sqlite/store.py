"""The SQLite store: the nouns over one database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shoal.kernel.clock import epoch
from shoal.kernel.ports import KV, AgentStore, Conversations, Events, Journal, Leases, Mail, RunStore, TaskStore
from shoal.store.sqlite import schema
from shoal.store.sqlite.agents import SqliteAgents
from shoal.store.sqlite.connection import Reader, Transaction
from shoal.store.sqlite.conversations import SqliteConversations
from shoal.store.sqlite.database import Database
from shoal.store.sqlite.dead_letters import prune_dead_letters
from shoal.store.sqlite.events import SqliteEvents, prune_events
from shoal.store.sqlite.journal import SqliteJournal
from shoal.store.sqlite.kv import SqliteKV, prune_kv
from shoal.store.sqlite.leases import SqliteLeases, prune_nodes
from shoal.store.sqlite.mail import SqliteMail, prune_mail_tombstones
from shoal.store.sqlite.named_leases import forget
from shoal.store.sqlite.run_past import prune_runs
from shoal.store.sqlite.runs import SqliteRuns
from shoal.store.sqlite.tasks import SqliteTasks, prune_tasks

__all__ = ["SqliteStore"]

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


class SqliteStore:
    """``Store`` in one SQLite file, or in memory.

    Args:
        path: the file, or ``:memory:``.
        durability: ``full`` (fsync at each commit) or ``normal``.
        inline: write on the event loop instead of in a thread, for simulations.
        read_only: create, migrate and write nothing.
    """

    def __init__(self, path: str, *, durability: str = "full", inline: bool = False, read_only: bool = False) -> None:
        self.database = Database(path, durability=durability, inline=inline, read_only=read_only)
        self.url = self.database.url
        self.tasks: TaskStore = SqliteTasks(self.database)
        self.agents: AgentStore = SqliteAgents(self.database)
        self.mail: Mail = SqliteMail(self.database)
        self.journal: Journal = SqliteJournal(self.database)
        self.events: Events = SqliteEvents(self.database)
        self.kv: KV = SqliteKV(self.database)
        self.leases: Leases = SqliteLeases(self.database)
        self.conversations: Conversations = SqliteConversations(self.database)
        self.runs: RunStore = SqliteRuns(self.database)

    async def open(self) -> None:
        """Open, create or migrate. Raises StoreError with what is wrong; a foreign or newer file is left untouched."""
        await self.database.open()

    async def close(self) -> None:
        """Write what was accepted, then close. Nothing is accepted afterwards."""
        await self.database.close()

    def on_commit(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call *callback* on the loop after commits that wrote events, shared values or news of runs; returns an undo."""
        return self.database.on_commit(callback)

    def changed(self) -> bool:
        """Tell whether another process has committed since the last call."""
        return self.database.changed()

    def info(self) -> dict[str, object]:
        """Return facts for people: url, schema version, size in bytes, rows by table, durability."""
        return {
            "url": self.url,
            "schema_version": schema.VERSION,
            "durability": self.database.durability,
            **self.database.read(_measure),
        }

    async def prune(self, before: datetime, *, limit: int = 1000) -> dict[str, int]:
        """Remove up to *limit* each of finished tasks and runs, events, dead letters and lost nodes older than *before*."""
        return await self.database.write(_prune, before, limit)


def _measure(reader: Reader) -> dict[str, object]:
    rows = {name: reader.value(f'SELECT count(*) FROM "{name}"') for (name,) in reader.rows(_TABLES)}
    return {"size_bytes": reader.value(_SIZE), "rows": rows}


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
