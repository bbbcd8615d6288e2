"""``shoal metrics``."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from shoal.cli.nodes import is_alive, usage
from shoal.cli.options import Json, Store, url_of
from shoal.cli.show import document, facts, table
from shoal.client import Client
from shoal.kernel.task import TaskStatus

__all__ = ["metrics"]

_NEWEST = 1000


def metrics(store: Store = None, json: Json = False) -> None:
    """Show the numbers of a store, and of its nodes as far as they can be read from outside.

    Durations are those of the newest 1000 completed tasks. What a node counts in its memory (messages sent, latencies)
    only its own process can tell: AgentRuntime.get_metrics() and export_prometheus_metrics().

    \b
    Example:
      shoal metrics --json
    """
    found = asyncio.run(_read(url_of(store)))
    if json:
        document(found)
        return
    facts(found["store"])
    print()
    columns = ("node", "alive", "host", "pid", "uptime_seconds", "memory_mb", "cpu_seconds", "agents")
    rows = [
        [node["node_id"], "yes" if node["alive"] else "no", *(node[name] for name in columns[2:])]
        for node in found["nodes"]
    ]
    table(columns, rows, empty="no node is running")


async def _read(url: str) -> dict[str, Any]:
    async with Client(store=url, read_only=True) as client:
        now = client.store.clock.now()
        agents = client.list_agents()
        held = Counter(agent.node_id for agent in agents if agent.status.live)
        nodes = [
            {
                "node_id": node.node_id,
                "name": node.name,
                "host": node.host,
                "pid": node.pid,
                "alive": is_alive(node, now),
                "started_at": node.started_at,
                "uptime_seconds": round((now - node.started_at).total_seconds(), 1),
                "lease_until": node.lease_until,
                "agents": held[node.node_id],
                **usage(node),
            }
            for node in client.list_nodes()
        ]
        return {"store": _store(client, Counter(str(agent.status) for agent in agents)), "nodes": nodes}


def _store(client: Client, agents: Counter[str]) -> dict[str, Any]:
    now = client.store.clock.now()
    queue = client.store.tasks.queue(now=now)
    done = client.store.tasks.search(status=TaskStatus.COMPLETED, limit=_NEWEST)
    times = sorted((t.completed_at - t.started_at).total_seconds() for t in done if t.completed_at and t.started_at)
    return {
        **{f"{name}_tasks": number for name, number in client.store.tasks.counts().items()},
        "oldest_ready_task_seconds": max(0.0, (now - (queue.ready_since or now)).total_seconds()),
        "queue_paused": queue.paused,
        "total_agents": agents.total(),
        "agents_by_status": dict(agents),
        "avg_task_duration_seconds": sum(times) / len(times) if times else 0.0,
        "p95_task_duration_seconds": times[min(len(times) - 1, int(0.95 * len(times)))] if times else 0.0,
        "last_event_id": client.store.events.last_id(),
    }
