"""Who is alive, who holds which name, and what is taken over from the dead."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from shoal.errors import ConfigError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Child, Lease, Node, Rescue, Standing
from shoal.store.sql.agents import leave_agents
from shoal.store.sql.database import Database, Drift
from shoal.store.sql.named_leases import acquire, forget, release, renew, standing, withdraw
from shoal.store.sql.rescue import hand_back, rescue
from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["SqlLeases", "prune_nodes"]

_NAMESAKE = "SELECT node_id FROM nodes WHERE name = ? AND lost = 0 AND lease_until > ? AND node_id <> ?"
_JOIN = """INSERT INTO nodes (node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)
    ON CONFLICT (node_id) DO UPDATE SET runtime_id = excluded.runtime_id, name = excluded.name, host = excluded.host,
        pid = excluded.pid, pid_started = excluded.pid_started, started_at = excluded.started_at,
        lease_until = excluded.lease_until, lost = 0, draining = NULL, load = 0, agents = 0"""
_LEASE = "SELECT lease_until FROM nodes WHERE node_id = ? AND lost = 0"
_BEAT = "UPDATE nodes SET lease_until = ?, load = ?, agents = ? WHERE node_id = ? AND lost = 0 AND lease_until = ?"
_DRAIN = "UPDATE nodes SET draining = ? WHERE node_id = ? AND lost = 0 AND draining IS NULL"
_LEAVE = "DELETE FROM nodes WHERE node_id = ?"
_LEAVE_CHILDREN = "DELETE FROM children WHERE node_id = ?"
_NODES = """SELECT node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost, draining, load, agents
    FROM nodes ORDER BY started_at, node_id"""
_ADOPT = """INSERT INTO children (node_id, pid, pid_started, agent_id) VALUES (?, ?, ?, ?)
    ON CONFLICT (node_id, pid) DO UPDATE SET pid_started = excluded.pid_started, agent_id = excluded.agent_id"""
_DISOWN = "DELETE FROM children WHERE node_id = ? AND pid = ?"
_PRUNE_NODES = """DELETE FROM nodes WHERE node_id IN (
    SELECT node_id FROM nodes WHERE lost = 1 AND lease_until < ?
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.node_id = nodes.node_id AND tasks.status = 'running')
    AND NOT EXISTS (SELECT 1 FROM agents WHERE agents.node_id = nodes.node_id)
    AND NOT EXISTS (SELECT 1 FROM mail WHERE mail.node_id = nodes.node_id)
    AND NOT EXISTS (SELECT 1 FROM children WHERE children.node_id = nodes.node_id) LIMIT ?)"""


class SqlLeases:
    """``Leases`` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def join(self, node: Node, *, now: datetime) -> Awaitable[None]:
        """Make a node known. Raises ConfigError when a live node has that name."""
        return self._db.write(_join, node, epoch(now))

    def heartbeat(self, node_id: str, *, until: datetime, load: float = 0.0, agents: int = 0) -> bool:
        """Let a node's lease end at *until*; False when it was already lost. Blocks until it is on disk.

        It takes no turn: a lease that could end while another node holds everything up would be a living node's.
        """
        return self._db.write_apart(_beat, self._db.drift(), node_id, epoch(until), load, agents)

    def drain(self, node_id: str, *, seconds: float, now: datetime) -> Awaitable[bool]:
        """Tell a node to leave in order, its work done within *seconds*; see ``Leases.drain``."""
        return self._db.write(_drain, node_id, seconds, now)

    def leave(self, node_id: str, *, now: datetime) -> Awaitable[None]:
        """Forget a node that ended in order; what it still holds goes back."""
        return self._db.write(_leave, node_id, now)

    def rescue(
        self,
        dead: Sequence[str],
        *,
        now: datetime,
        max_interruptions: int,
        max_deliveries: int | None = None,
        spared: Sequence[str] = (),
        silent: Mapping[str, datetime] = MappingProxyType({}),
    ) -> Awaitable[Rescue]:
        """Take over what dead nodes held."""
        ends = {node_id: epoch(until) for node_id, until in silent.items()}
        return self._db.write(rescue, frozenset(dead), ends, now, max_interruptions, max_deliveries, frozenset(spared))

    def adopt(self, child: Child) -> Awaitable[None]:
        """Remember a child process."""
        return self._db.write(_adopt, child)

    def disown(self, node_id: str, pid: int) -> Awaitable[None]:
        """Forget a child process that was reaped."""
        return self._db.write(_disown, node_id, pid)

    def acquire(
        self, name: str, owner: str, *, now: datetime, until: datetime, wait_until: datetime | None = None
    ) -> Awaitable[Lease | None]:
        """Take a free name, or prolong one's own; None when another holds it, or stands in line before."""
        waits = None if wait_until is None else epoch(wait_until)
        return self._db.write(acquire, self._db.drift(), name, owner, epoch(now), until, waits)

    def renew(self, lease: Lease, *, now: datetime, until: datetime) -> Awaitable[Lease]:
        """Prolong. Raises LeaseLostError when it ended or went to another."""
        return self._db.write(renew, self._db.drift(), lease, epoch(now), until)

    def release(self, lease: Lease, *, now: datetime) -> Awaitable[bool]:
        """Give it up; False when it was no longer held."""
        return self._db.write(release, self._db.drift(), lease, epoch(now))

    def withdraw(self, name: str, owner: str, *, now: datetime) -> Awaitable[bool]:
        """Stand in line no more, and give the name up if *owner* holds it; False when he did not."""
        return self._db.write(withdraw, self._db.drift(), name, owner, epoch(now))

    def forget(self, before: datetime, *, limit: int = 1000) -> Awaitable[int]:
        """Remove up to *limit* names whose last lease ended before *before*; return how many."""
        return self._db.write(forget, epoch(before), limit)

    def standing(self, name: str, owner: str, *, now: datetime) -> Standing:
        """Return where *owner* stands for a name."""
        return self._db.read(standing, name, owner, epoch(now))

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
        raise ConfigError(
            f"node name {node.name!r:.80} is in use by the live node {namesake}",
            note="Give this node another name, or none; `shoal nodes` says where the other one runs.",
        )
    cx.execute(
        _JOIN,
        (
            node.node_id, node.runtime_id, node.name, node.host, node.pid, node.pid_started, epoch(node.started_at),
            epoch(node.lease_until),
        ),
    )  # fmt: skip


def _node(row: tuple[Any, ...]) -> Node:
    node_id, runtime_id, name, host, pid, pid_started, started_at, lease_until, lost, draining, load, agents = row
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
        draining=draining,
        load=load,
        agents=agents,
    )


def _beat(cx: Transaction, drift: Drift, node_id: str, until: int, load: float, agents: int) -> bool:
    """Let a node's lease end at *until*, and put its clock right; False when it was already lost.

    A beat whose answer was lost may come to the server after the next one. It finds another lease than it has seen, and
    changes nothing: it would end that lease sooner than its holder believes.
    """
    until += drift(cx)
    while (seen := cx.value(_LEASE, (node_id,))) is not None:
        if cx.execute(_BEAT, (until, load, agents, node_id, seen)):
            return True
    return False


def _drain(cx: Transaction, node_id: str, seconds: float, now: datetime) -> bool:
    if not cx.execute(_DRAIN, (seconds, node_id)):
        return False
    details: dict[str, object] = {"seconds": seconds}
    cx.emit(Fact(event_type=EventType.NODE_DRAINING, node_id=node_id, details=details), now)
    return True


def _leave(cx: Transaction, node_id: str, now: datetime) -> None:
    hand_back(cx, node_id, now)
    leave_agents(cx, node_id, now)
    cx.execute(_LEAVE, (node_id,))
    cx.execute(_LEAVE_CHILDREN, (node_id,))


def _adopt(cx: Transaction, child: Child) -> None:
    cx.execute(_ADOPT, (child.node_id, child.pid, child.pid_started, child.agent_id))


def _disown(cx: Transaction, node_id: str, pid: int) -> None:
    cx.execute(_DISOWN, (node_id, pid))
