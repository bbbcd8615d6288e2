"""What the suites of tasks, steps and leases share: how a test runs, and short forms of the verbs."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from shoal.kernel.event import EventFilter
from shoal.kernel.ports import Claim, Fence, Node, Outcome, Settled, Settlement, Store
from shoal.kernel.room import Room, Slot
from shoal.kernel.task import Task, TaskStatus

__all__ = [
    "NOW",
    "after",
    "check_counts",
    "claim",
    "fence",
    "kinds",
    "new",
    "node",
    "on_nodes",
    "run_all",
    "settle",
    "submit",
]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
_ids = itertools.count(1)


def after(seconds: float) -> datetime:
    """Return a time after the beginning of each test."""
    return NOW + timedelta(seconds=seconds)


def new(name: str = "work", **fields: Any) -> Task:
    """Return a task that is not stored yet."""
    return Task(task_id=f"t{next(_ids):06}", name=name, created_at=NOW, **fields)


def node(node_id: str, lease: float = 3600, name: str = "") -> Node:
    """Return a node whose lease ends *lease* seconds after the beginning."""
    return Node(
        node_id=node_id,
        runtime_id="r",
        name=name or node_id,
        host="h",
        pid=1,
        pid_started=1,
        started_at=NOW,
        lease_until=after(lease),
    )


def on_nodes(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a plain test of ``async def test(self, store, …)``: the store is open, nodes n1 and n2 have joined."""

    @functools.wraps(test)
    def run(self: object, store: Store, **parameters: object) -> None:
        async def main() -> None:
            await store.open()
            try:
                for node_id in ("n1", "n2"):
                    await store.leases.join(node(node_id), now=NOW)
                await test(self, store, **parameters)
            finally:
                await store.close()

        asyncio.run(main())

    return run


async def submit(store: Store, *tasks: Task, max_pending: int | None = None, now: datetime = NOW) -> list[str]:
    """Store tasks."""
    return await store.tasks.enqueue(tasks, now=now, max_pending=max_pending)


async def claim(
    store: Store, free: int = 1, *targets: str, node_id: str = "n1", now: datetime = NOW, **options: Any
) -> list[Claim]:
    """Claim for one slot of agent a1."""
    slot = Slot(agent_id="a1", targets=targets or ("",), free=free)
    return await store.tasks.claim(node_id, Room([slot]), now=now, **options)


def fence(given: Claim, node_id: str = "n1") -> Fence:
    """Return the fence of an attempt."""
    return Fence(given.task.task_id, node_id, given.task.attempt)


async def settle(
    store: Store, given: Claim, outcome: Outcome = Outcome.COMPLETED, *, now: datetime = NOW, **fields: Any
) -> Settled:
    """End an attempt."""
    if outcome is not Outcome.COMPLETED:
        fields = {"error_type": "ValueError", "error_message": "no", **fields}
    known: dict[str, Any] = {"name": given.task.name, "started_at": given.task.started_at}
    settlement = Settlement(fence=fence(given), agent_id=given.agent_id, outcome=outcome, **known, **fields)
    return await store.tasks.settle(settlement, now=now)


async def run_all(store: Store) -> list[str]:
    """Claim one by one and complete until nothing is ready; return the names in order."""
    names = []
    given = await claim(store)
    while given:
        names.append(given[0].task.name)
        settlement = Settlement(fence=fence(given[0]), agent_id="a1", outcome=Outcome.COMPLETED)
        settled = store.tasks.settle(settlement, now=NOW)
        given = await claim(store)  # takes its place behind the settlement, in the same commit
        assert (await settled).applied
    return names


def kinds(store: Store, task_id: str) -> list[str]:
    """Return the types of a task's events, oldest first."""
    return [event.event_type for event in store.events.scan(EventFilter(task_id=task_id))]


def check_counts(store: Store, total: int) -> dict[str, int]:
    """Return the kept counts after holding them to a count by hand."""
    counts = store.tasks.counts()
    for status in TaskStatus:
        assert counts[status] == len(store.tasks.search(status=status, limit=100_000)), status
    assert sum(counts[status] for status in TaskStatus) == total
    assert counts["ready"] + counts["blocked"] == counts["pending"]
    return counts
