"""What can be read of running nodes from outside."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from shoal.kernel.agent import AgentInstance
from shoal.kernel.ports import Node
from shoal.kernel.takeover import process_start, this_boot

__all__ = ["is_alive", "is_gone", "usage"]


def is_alive(node: Node, now: datetime) -> bool:
    """Tell whether a node lives: on this host by its process, elsewhere by its lease."""
    if node.lost:
        return False
    if node.host == this_boot():
        return process_start(node.pid) == node.pid_started
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
