"""What can be read of running nodes from outside, and ``shoal nodes``."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from shoal.cli.options import Json, Store, url_of
from shoal.cli.show import document, table
from shoal.client import Client
from shoal.errors import ConfigError, nearest
from shoal.kernel.agent import AgentInstance
from shoal.kernel.ports import Node
from shoal.kernel.takeover import has_ended, process_start, this_boot

__all__ = ["find", "is_alive", "is_gone", "nodes", "usage"]


def nodes(store: Store = None, json: Json = False) -> None:
    """List the nodes of a store: the processes in which agents live.

    A node is running, draining (it ends what it does and leaves), silent (its lease is over; it may be dead, or cut off) or
    lost (others have taken over from it). The load is the share of its machine's cores in use, as it said with its last
    heartbeat; "lease" is how long its lease still lasts, in seconds.

    \b
    Example:
      shoal nodes --store postgresql://shoal@db/shoal
    """
    found = asyncio.run(_read(url_of(store)))
    if json:
        document(found)
        return
    columns = ("name", "host", "pid", "status", "load", "agents", "lease", "id")
    table(columns, [[node[column] for column in columns] for node in found], empty="no node is running")


async def _read(url: str) -> list[dict[str, Any]]:
    async with Client(store=url, read_only=True) as client:
        now = client.store.clock.now()
        held = Counter(agent.node_id for agent in client.list_agents() if agent.status.live)
        return [_shown(node, held[node.node_id], now) for node in client.list_nodes()]


def _shown(node: Node, agents: int, now: datetime) -> dict[str, Any]:
    return {
        "id": node.node_id,
        "name": node.name,
        "host": node.host,
        "pid": node.pid,
        "status": _status(node, now),
        "load": f"{node.load:.0%}",
        "agents": agents,
        "lease": round((node.lease_until - now).total_seconds(), 1),
        "started_at": msgspec.to_builtins(node.started_at),
    }


def _status(node: Node, now: datetime) -> str:
    if node.lost:
        return "lost"
    if not is_alive(node, now):
        return "silent"
    return "running" if node.draining is None else "draining"


def find(known: Sequence[Node], word: str) -> Node:
    """Return the node with this name or id, or the one whose id begins so. Raises ConfigError."""
    there = [node for node in known if not node.lost]
    exact = [node for node in there if word in (node.name, node.node_id)]
    found = exact or [node for node in there if node.node_id.startswith(word)]
    if len(found) != 1:
        why = "there is no node" if not found else f"there are {len(found)} nodes"
        hint = "" if found else nearest(word, [node.name for node in there])
        raise ConfigError(f"{why} {word[:80]!r}{hint}", note="`shoal nodes` lists them.")
    return found[0]


def is_alive(node: Node, now: datetime) -> bool:
    """Tell whether a node lives: on this host by its process, where that can be seen, elsewhere by its lease."""
    if node.lost:
        return False
    if node.host == this_boot():
        if has_ended(node.pid, node.pid_started):
            return False
        if process_start(node.pid) is not None:
            return True
    return node.lease_until > now


def is_gone(agent: AgentInstance, nodes: Iterable[Node], now: datetime) -> bool:
    """Tell whether an agent counts as alive on a node that is no longer there."""
    return agent.status.live and not any(node.node_id == agent.node_id and is_alive(node, now) for node in nodes)


def usage(node: Node) -> dict[str, float | None]:
    """Return the resident memory (MB) and CPU time (seconds) of a node's own process; None where it cannot be read."""
    try:
        if node.host != this_boot() or process_start(node.pid) != node.pid_started:
            return {"memory_mb": None, "cpu_seconds": None}
        pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
        fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended, or there is no /proc
        return {"memory_mb": None, "cpu_seconds": None}
    ticks = os.sysconf("SC_CLK_TCK")
    return {
        "memory_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks,
    }
