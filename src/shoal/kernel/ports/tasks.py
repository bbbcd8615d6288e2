"""The store of tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from shoal.kernel.event import Fact
from shoal.kernel.ports.bus import Bell
from shoal.kernel.room import AGENT_WORD, Room
from shoal.kernel.task import QueuePosition, Task, TaskStatus

__all__ = [
    "Cancelled",
    "Claim",
    "Ended",
    "Fence",
    "Outcome",
    "QueueState",
    "Return",
    "Settled",
    "Settlement",
    "TaskStore",
    "target_of",
]


def target_of(task: Task) -> str:
    """Return the one word by which *task* is matched to slots: ``""`` (any), ``agent:ID``, ``capability:WORD``,
    ``group:NAME``."""
    if task.agent is not None:
        return AGENT_WORD + task.agent
    if task.capability is not None:
        return f"capability:{task.capability}"
    if task.group is not None:
        return f"group:{task.group}"
    return ""


class Claim(msgspec.Struct, frozen=True):
    """A task given to an agent. ``task.attempt`` is the fencing token of everything this attempt writes."""

    task: Task
    agent_id: str


class Fence(msgspec.Struct, frozen=True):
    """Proof of being the present attempt: a write with an old one raises LeaseLostError and changes nothing."""

    task_id: str
    node_id: str
    attempt: int


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY = "retry"
    INTERRUPTED = "interrupted"


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """A durable message that was taken and not handled: due again at ``retry_at``, or a dead letter with ``error`` after
    ``max_deliveries`` (None: never)."""

    message_id: str
    error: str
    retry_at: datetime
    max_deliveries: int | None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one attempt. Of interruptions ``died`` counts a death of the agent, ``lost`` a loss; else none counts.

    ``not_before`` is when a retry may start. ``acks`` are durable messages that the attempt took and is now done with:
    acknowledged when it completed; ``returns`` are those that it took when it did not complete. ``facts`` are further
    events of the same transaction (``task_timeout`` …). With ``name`` and ``started_at``, those of the task as it was
    claimed, a store may write it without a look before.
    """

    fence: Fence
    agent_id: str
    outcome: Outcome
    output: object = None
    error_type: str | None = None
    error_message: str | None = None
    error_details: dict[str, object] = {}
    not_before: datetime | None = None
    died: bool = False
    lost: bool = False
    acks: tuple[str, ...] = ()
    returns: tuple[Return, ...] = ()
    facts: tuple[Fact, ...] = ()
    name: str | None = None
    started_at: datetime | None = None


class Ended(msgspec.Struct, frozen=True):
    """A task that reached a final status, and by which attempt on which node it ran, if it did."""

    task_id: str
    status: TaskStatus
    agent_id: str | None = None
    node_id: str | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a settlement did. ``applied`` is False for an old fence: then nothing changed.

    ``ended`` has the task itself when it is final, and every dependent that failed with it; ``promoted`` tells that
    tasks became ready.
    """

    applied: bool
    ended: tuple[Ended, ...] = ()
    promoted: bool = False


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancel did. ``applied`` is False when the task had already ended.

    ``stopped`` are the cancelled tasks (with their children) that were running, where; ``ended`` all that ended.
    """

    applied: bool
    stopped: tuple[Ended, ...] = ()
    ended: tuple[Ended, ...] = ()
    promoted: bool = False


class QueueState(msgspec.Struct, frozen=True):
    """Whether claims are paused, on every node, and when the oldest of the tasks that are ready now became so; None when
    none is ready."""

    paused: bool
    ready_since: datetime | None


class TaskStore(Protocol):
    """The queue and its history."""

    def enqueue(
        self, tasks: Sequence[Task], *, now: datetime, max_pending: int | None, bell: Bell | None = None
    ) -> Awaitable[list[str]]:
        """Store new tasks, all or none, with their ``task_enqueued``; return their ids in order. *bell* may ring with it.

        A task whose ``idempotency_key`` is known yields the known task's id and stores nothing. Dependencies may be ids
        of this batch or stored tasks; one that has already completed does not block, one that has already failed or was
        cancelled makes the new task failed at once (DependencyFailedError, ``task_failed``), unless
        ``on_dependency_failure`` is ``run``. A child's ``root_id`` is set by the caller.

        Raises:
            TaskNotFoundError: unknown dependency or parent.
            CyclicDependencyError: a circle inside the batch (also a task that waits for itself).
            QueueFullError: fewer than ``len(tasks)`` places are left of *max_pending* pending tasks (``queue_full``
                event is written in its own transaction).
            IdempotencyConflictError: known key, other name or input.
        """
        ...

    def claim(
        self,
        node_id: str,
        room: Room,
        *,
        now: datetime,
        starved_before: datetime | None = None,
        waited: Sequence[Fence] = (),
    ) -> Awaitable[list[Claim]]:
        """Give ready tasks to free lanes and mark them running, attempt + 1, with ``task_assigned`` and ``task_started``.

        First by priority, then by submission; to ``Room.takers`` in their order, and to lent lanes when these are full.
        *room* stays as it is until this has ended; looking at each of its slots would make claims slow beside many
        idle agents.
        With *starved_before* the first task given is the oldest ready one, if it became ready before that time.
        *waited* are attempts whose retry has waited long enough by the caller's monotonic clock, whatever *now* says.
        Nothing is given while the queue is paused, or to a node whose lease is lost (LeaseLostError).
        """
        ...

    def settle(self, settlement: Settlement, *, now: datetime, bell: Bell | None = None) -> Awaitable[Settled]:
        """End one attempt: the task's new status, its event, its acknowledged mail, promoted or failed dependents. *bell*
        may ring with it, when it is applied.

        ``task_completed``, ``task_failed``, ``task_retrying`` or ``task_interrupted`` is written, and ``facts``. A
        retry keeps its place in the order and adds one to ``retry_count``. An interruption keeps place and
        retries; when it counts it adds one to ``deaths`` or ``interruptions`` (both 0 again after a new step
        or checkpoint). The cause and the root cause are named in each dependent that fails, at any depth, in
        set-based statements.
        """
        ...

    def cancel(self, task_id: str, reason: str | None, *, now: datetime) -> Awaitable[Cancelled]:
        """End a pending or running task as cancelled (``task_cancelled``), its unfinished children with it (all depths).

        Dependents fail or run as in ``settle``. Raises TaskNotFoundError.
        """
        ...

    def progress(self, fence: Fence, fraction: float, note: str, *, now: datetime) -> Awaitable[None]:
        """Keep the progress of a running task, with ``task_progress``. Raises LeaseLostError."""
        ...

    def checkpoint(self, fence: Fence, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep the state that the next attempt will find, with ``task_checkpointed``. Raises LeaseLostError."""
        ...

    def pause_queue(self, paused: bool, *, now: datetime) -> Awaitable[bool]:
        """Pause or resume claims on every node, with its event; True when that changed something."""
        ...

    def unroutable(self, known_targets: Sequence[str], *, now: datetime) -> Awaitable[int]:
        """Write ``task_unroutable`` once for each ready task with a capability or group not in *known_targets*."""
        ...

    # readers
    def get(self, task_id: str) -> Task:
        """Return the task. Raises TaskNotFoundError."""
        ...

    def find(self, task_ids: Sequence[str]) -> Awaitable[dict[str, Task]]:
        """Return those of *task_ids* that exist, by id; the loop does other things meanwhile."""
        ...

    def search(
        self,
        *,
        status: TaskStatus | None = None,
        limit: int = 100,
        name: str | None = None,
        agent_id: str | None = None,
    ) -> list[Task]:
        """Return tasks, newest first."""
        ...

    def counts(self) -> dict[str, int]:
        """Return pending, running, completed, failed, cancelled, ready and blocked, in time independent of
        their number."""
        ...

    def claimable(self, *, now: datetime) -> bool:
        """Tell, in constant time, whether some task is ready now, for whomever."""
        ...

    def queue(self, *, now: datetime) -> QueueState:
        """Return the state of the queue, in time that grows with the number of target words of ready tasks, and not with
        that of tasks.

        A task is ready since it was stored, since its ``not_before``, or since what kept it ended: a dependency, a wait
        for a retry, an attempt that was interrupted. One whose ``not_before`` has passed counts also before a claim has
        seen it.
        """
        ...

    def position(self, task_id: str, *, now: datetime, targets: Sequence[str] | None = None) -> QueuePosition:
        """Return where a pending task stands, exactly; ``eta_seconds`` is left None. ValueError when it is not pending.

        ``reason`` is ready, dependencies, not_before, retry_wait or queue_paused; the caller knows the other two.
        ``ahead`` counts ready tasks that come before it: those with a target word of *targets*, or all.
        """
        ...

    def durations(self, target: str, limit: int = 100) -> Sequence[float]:
        """Return the durations in seconds of the last *limit* completed tasks with that target word."""
        ...
