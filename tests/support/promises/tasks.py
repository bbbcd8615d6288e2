"""Promises of tasks: nothing is lost, what was done is not done again, and the work of the dead goes on in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shoal import Event, TaskStatus
from tests.support.facts import check_story
from tests.support.history import History, by_task, handovers

__all__ = ["CHECKS"]

GUARD = 3
"""How often the time that is promised: the promise is for a machine that is not overloaded, and is shown by the figures."""


def nothing_is_lost(history: History) -> Iterator[str]:
    tasks = {task.task_id: task for task in history.tasks}
    for task_id in history.acknowledged:
        if task_id not in tasks:
            yield f"task {task_id} was acknowledged and is not in the store"
        elif tasks[task_id].status is not TaskStatus.COMPLETED:
            yield f"task {task_id} was acknowledged and is {tasks[task_id].status} at the end"
    begun = {line.task for line in history.lines("begin")}
    for task in history.tasks:
        if task.status is TaskStatus.COMPLETED and task.task_id not in begun:
            yield f"task {task.task_id} is completed and nobody has done it"


def keys_are_submitted_once(history: History) -> Iterator[str]:
    """A key that is submitted again until it is acknowledged makes one task."""
    keys = Counter(task.idempotency_key for task in history.tasks if task.idempotency_key is not None)
    yield from (f"key {key} made {times} tasks" for key, times in keys.items() if times > 1)
    twice = [task_id for task_id, times in Counter(history.acknowledged).items() if times > 1]
    yield from (f"task {task_id} was acknowledged for two keys" for task_id in twice)


def stories_are_legal(history: History) -> Iterator[str]:
    try:
        check_story(history.tasks, history.events)
    except AssertionError as error:
        yield f"the story of a task cannot be: {error}"


def attempts_are_few(history: History) -> Iterator[str]:
    """One attempt is made by one node, once; there is one more for each time that a node was lost with the task on it."""
    losses = Counter((e.task_id, e.node_id) for e in history.events if e.event_type == "task_interrupted")
    retries = Counter(e.task_id for e in history.events if e.event_type == "task_retrying")
    raised = retries - Counter(line.task for line in history.lines("failed"))
    if raised and not history.upset():
        yield f"{raised.total()} attempts failed by themselves, and no server was out of reach"
    allowed = retries + Counter(task_id for task_id, _ in losses.elements())
    for (task_id, node_id), times in losses.items():
        if times > 1:
            yield f"task {task_id} was lost {times} times with the one node {node_id}"
    for task_id, lines in by_task(history).items():
        begun = [line for line in lines if line.kind == "begin"]
        for attempt, times in Counter(line.attempt for line in begun).items():
            if times > 1:
                yield f"attempt {attempt} of task {task_id} began {times} times"
        if len(begun) > 1 + allowed[task_id]:
            yield f"task {task_id} was executed {len(begun)} times and lost {allowed[task_id]} times"


def only_the_struck_are_lost(history: History) -> Iterator[str]:
    """A node to which nothing was done is not taken for dead, nor one that can only not talk to the others."""
    struck = history.lives("killed", "frozen") | {line.life for line in history.lines("cut") if line.key == "store"}
    lost = {event.node_id or "" for event in history.events if event.event_type == "node_lost"}
    yield from (f"node {life} was taken for dead, and nothing was done to it" for life in sorted(lost - struck))


def drained_nodes_finish(history: History) -> Iterator[str]:
    """What a node that leaves in order has begun, it ends, or it fails as it would have anyway."""
    drained = history.lives("drained")
    failed = {(e.task_id, e.details["attempt"]) for e in history.events if _failed_before(e)}
    ended = {(line.task, line.attempt) for line in history.lines("end")}
    for line in history.lines("begin"):
        if line.life in drained and (line.task, line.attempt) not in ended | failed:
            yield f"attempt {line.attempt} of task {line.task} was cut short by the drain of {line.life}"


def _failed_before(event: Event) -> bool:
    """Tell whether an attempt ended for another reason than that its node left."""
    gave_up = event.details.get("error_message") == "Its node lost its lease"  # a server was too slow for it
    return event.event_type == "task_retrying" or (event.event_type == "task_interrupted" and gave_up)


def attempts_follow_each_other(history: History) -> Iterator[str]:
    """Nothing is done in an attempt once a later one has begun.

    But a node that was frozen cannot know it: what it was about to do, one thing for each attempt, it does when it thaws.
    """
    frozen = history.lives("frozen")
    for task_id, lines in by_task(history).items():
        newest = 0
        late: Counter[tuple[str, int]] = Counter()
        for line in lines:
            newest = max(newest, line.attempt)
            if line.attempt < newest and line.kind not in ("gave", "end", "failed"):
                late[line.life, line.attempt] += 1
                if line.life not in frozen or late[line.life, line.attempt] > 1 or line.kind == "recorded":
                    what = f"{line.kind} of attempt {line.attempt} of task {task_id} in {line.life}"
                    yield f"{what} after attempt {newest} began"


def others_take_over_in_time(history: History) -> Iterator[str]:
    limit = (history.lease + 1.0) * GUARD
    yield from (
        f"{taken:.1f} s passed until a dead node's work went on" for taken in handovers(history) if taken > limit
    )


CHECKS = (
    nothing_is_lost,
    keys_are_submitted_once,
    stories_are_legal,
    attempts_are_few,
    only_the_struck_are_lost,
    drained_nodes_finish,
    attempts_follow_each_other,
    others_take_over_in_time,
)
