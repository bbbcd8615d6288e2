"""Who is alive, who holds which name, and what is taken over from the dead."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any

from shoal.errors import ConfigError, LeaseLostError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.ports import Child, Lease, Node, Rescue
from shoal.store.sqlite.agents import leave_agents
from shoal.store.sqlite.connection import Reader, Transaction
from shoal.store.sqlite.database import Database
from shoal.store.sqlite.rescue import hand_back, rescue

__all__ = ["SqliteLeases", "prune_nodes"]

_NAMESAKE = "SELECT node_id FROM nodes WHERE name = ? AND lost = 0 AND lease_until > ? AND node_id <> ?"
_JOIN = """INSERT OR REPLACE INTO nodes
    (node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)"""
_BEAT = "UPDATE nodes SET lease_until = ? WHERE node_id = ? AND lost = 0"
_LEAVE = "DELETE FROM nodes WHERE node_id = ?"
_LEAVE_CHILDREN = "DELETE FROM children WHERE node_id = ?"
_NODES = """SELECT node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost FROM nodes
    ORDER BY started_at, node_id"""
_ADOPT = "INSERT OR REPLACE INTO children (node_id, pid, pid_started, agent_id) VALUES (?, ?, ?, ?)"
_DISOWN = "DELETE FROM children WHERE node_id = ? AND pid = ?"
_LEASE = "SELECT owner, token, until FROM leases WHERE name = ?"
_TAKE = """INSERT INTO leases (name, owner, token, until) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, token = excluded.token, until = excluded.until"""
_RENEW = "UPDATE leases SET until = ? WHERE name = ? AND owner = ? AND token = ? AND until > ?"
_RELEASE = "UPDATE leases SET owner = NULL WHERE name = ? AND owner = ? AND token = ? AND until > ?"
_PRUNE_NODES = """DELETE FROM nodes WHERE node_id IN (
    SELECT node_id FROM nodes WHERE lost = 1 AND lease_until < ?
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.node_id = nodes.node_id AND tasks.status = 'running')
    AND NOT EXISTS (SELECT 1 FROM agents WHERE agents.node_id = nodes.node_id)
    AND NOT EXISTS (SELECT 1 FROM mail WHERE mail.node_id = nodes.node_id)
    AND NOT EXISTS (SELECT 1 FROM children WHERE children.node_id = nodes.node_id) LIMIT ?)"""


class SqliteLeases:
    """``Leases`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def join(self, node: Node, *, now: datetime) -> Awaitable[None]:
        """Make a node known. Raises ConfigError when a live node has that name."""
        return self._db.write(_join, node, epoch(now))

    def heartbeat(self, node_id: str, *, until: datetime) -> bool:
        """Let a node's lease end at *until*; False when it was already lost. Blocks until it is on disk."""
        return self._db.write_blocking(_beat, node_id, epoch(until))

    def leave(self, node_id: str, *, now: datetime) -> Awaitable[None]:
        """Forget a node that ended in order; what it still holds goes back."""
        return self._db.write(_leave, node_id, now)

    def rescue(
        self, dead: Sequence[str], *, now: datetime, max_interruptions: int, spared: Sequence[str] = ()
    ) -> Awaitable[Rescue]:
        """Take over what dead nodes held."""
        return self._db.write(rescue, frozenset(dead), now, max_interruptions, frozenset(spared))

    def adopt(self, child: Child) -> Awaitable[None]:
        """Remember a child process."""
        return self._db.write(_adopt, child)

    def disown(self, node_id: str, pid: int) -> Awaitable[None]:
        """Forget a child process that was reaped."""
        return self._db.write(_disown, node_id, pid)

    def acquire(self, name: str, owner: str, *, now: datetime, until: datetime) -> Awaitable[Lease | None]:
        """Take a free (or ended) name, or prolong one's own; None when another holds it."""
        return self._db.write(_acquire, name, owner, now, until)

    def renew(self, lease: Lease, *, now: datetime, until: datetime) -> Awaitable[Lease]:
        """Prolong. Raises LeaseLostError when it ended or went to another."""
        return self._db.write(_renew, lease, now, until)

    def release(self, lease: Lease, *, now: datetime) -> Awaitable[bool]:
        """Give it up; False when it was no longer held."""
        return self._db.write(_release, lease, now)

    def nodes(self) -> list[Node]:
        """Return the nodes that are known, oldest first."""
        return [_node(row) for row in self._db.read(Reader.rows, _NODES)]


def prune_nodes(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove up to *limit* nodes that were found dead and whose lease ended before *before*, unless something is held
    in their name."""
    return cx.execute(_PRUNE_NODES, (epoch(before), limit))


def _join(cx: Transaction, node: Node, now: int) -> None:
    namesake = cx.value(_NAMESAKE, (node.name, now, node.node_id))
    if namesake is not None:
        raise ConfigError(f"node name {node.name!r:.80} is in use by the live node {namesake}")
    cx.execute(
        _JOIN,
        (
            node.node_id, node.runtime_id, node.name, node.host, node.pid, node.pid_started, epoch(node.started_at),
            epoch(node.lease_until),
        ),
    )  # fmt: skip


def _node(row: tuple[Any, ...]) -> Node:
    node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost = row
    return Node(
        node_id=node_id,
        runtime_id=runtime_id,
        name=name,
        host=host,
        pid=pid,
        pid_started=pid_started,
        started_at=from_epoch(started_at),
        lease_until=from_epoch(lease_until),
        lost=bool(lost),
    )


def _beat(cx: Transaction, node_id: str, until: int) -> bool:
    return cx.execute(_BEAT, (until, node_id)) > 0


def _leave(cx: Transaction, node_id: str, now: datetime) -> None:
    hand_back(cx, node_id, now)
    leave_agents(cx, node_id, now)
    cx.execute(_LEAVE, (node_id,))
    cx.execute(_LEAVE_CHILDREN, (node_id,))


def _adopt(cx: Transaction, child: Child) -> None:
    cx.execute(_ADOPT, (child.node_id, child.pid, child.pid_started, child.agent_id))


def _disown(cx: Transaction, node_id: str, pid: int) -> None:
    cx.execute(_DISOWN, (node_id, pid))


def _acquire(cx: Transaction, name: str, owner: str, now: datetime, until: datetime) -> Lease | None:
    row = cx.one(_LEASE, (name,))
    token = 1
    if row is not None:
        holder, token, ends = row
        held = holder is not None and ends > epoch(now)
        if held and holder != owner:
            return None
        if not held:
            token += 1
    cx.execute(_TAKE, (name, owner, token, epoch(until)))
    return Lease(name=name, owner=owner, token=token, until=until)


def _renew(cx: Transaction, lease: Lease, now: datetime, until: datetime) -> Lease:
    if not cx.execute(_RENEW, (epoch(until), lease.name, lease.owner, lease.token, epoch(now))):
        raise LeaseLostError(f"the lease of {lease.name!r:.80} by {lease.owner!r:.80} has ended")
    return Lease(name=lease.name, owner=lease.owner, token=lease.token, until=until)


def _release(cx: Transaction, lease: Lease, now: datetime) -> bool:
    return cx.execute(_RELEASE, (lease.name, lease.owner, lease.token, epoch(now))) > 0
