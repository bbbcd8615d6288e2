"""What must be true of any store, whatever happened to the runtimes on it: facts and events tell the same story."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence

from shoal import AgentRuntime, Event, EventFilter, Task, TaskStatus

__all__ = ["all_events", "check_story"]

ENDS = {
    TaskStatus.COMPLETED: "task_completed",
    TaskStatus.FAILED: "task_failed",
    TaskStatus.CANCELLED: "task_cancelled",
}


def all_events(runtime: AgentRuntime) -> list[Event]:
    """Return every event, oldest first."""
    return list(runtime.store.events.scan(EventFilter()))


def check_story(tasks: Sequence[Task], events: Sequence[Event]) -> None:
    """Check that ids rise and that each task has exactly the events of what happened to it, in an order that can be."""
    ids = [event.event_id for event in events]
    assert all(earlier < later for earlier, later in itertools.pairwise(ids)), "event ids rise strictly"
    told: dict[str | None, list[str]] = defaultdict(list)
    for event in events:
        if event.event_type.startswith("task_"):
            told[event.task_id].append(event.event_type)
    assert set(told) == {task.task_id for task in tasks}, "events without a task, or a task without events"
    for task in tasks:
        _check_task(task, told[task.task_id])


def _check_task(task: Task, told: list[str]) -> None:
    number = Counter(told)
    where = f"{task.name} is {task.status} after {told}"
    assert told[0] == "task_enqueued" and number["task_enqueued"] == 1, where
    assert number["task_started"] == number["task_assigned"] == task.attempt, where
    assert number["task_retrying"] == task.retry_count, where
    ends = {kind: int(status is task.status) for status, kind in ENDS.items()}
    assert {kind: number[kind] for kind in ends} == ends, where
    if task.done:
        assert told[-1] == ENDS[task.status], where
    running = 0
    for kind in told:
        if kind == "task_started":
            running += 1
        elif kind in ("task_retrying", "task_interrupted") or (kind in ENDS.values() and running):
            running -= 1
        assert running in (0, 1), where
    assert running == (task.status is TaskStatus.RUNNING), where
