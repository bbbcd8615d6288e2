"""What the metrics verb answers: every key always, 0 when there is nothing, counts as whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.kernel.cells import Cells
    from shoal.kernel.env import Env
    from shoal.kernel.load import Load

__all__ = ["metrics"]


def metrics(env: Env, cells: Cells, load: Load, total_agents: int, started: float) -> dict[str, int | float]:
    """Return a node's numbers since its start; *started* is its start on the monotonic clock."""
    numbers = env.numbers
    counter = numbers.counters
    counts = env.store.tasks.counts()
    now = env.clock.now()
    ready_since = env.store.tasks.queue(now=now).ready_since or now
    return {
        "uptime_seconds": env.clock.monotonic() - started,
        "total_agents": total_agents,
        "running_agents": len(cells.alive),
        "total_tasks": int(counter["total_tasks"]),
        "completed_tasks": int(counter["completed_tasks"]),
        "failed_tasks": int(counter["failed_tasks"]),
        "avg_task_duration_seconds": numbers.mean("task_duration_seconds"),
        "p95_task_duration_seconds": numbers.percentile("task_duration_seconds", 0.95),
        "messages_sent": int(counter["messages_sent"]),
        "avg_message_latency_ms": numbers.mean("message_latency_ms"),
        "pending_tasks": counts["pending"],
        "oldest_ready_task_seconds": max(0.0, (now - ready_since).total_seconds()),
        "retried_tasks": int(counter["retried_tasks"]),
        "abandoned_attempts": int(counter["abandoned_attempts"]),
        "dead_letters": int(counter["dead_letters"]),
        "late_replies": int(counter["late_replies"]),
        "memory_mb": load.memory()[0],
        "cpu_load": load.cpu_share,
    }
