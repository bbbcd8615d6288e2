"""The history of a run in which bad things happened, and whether it keeps what was promised.

It is put together from what outlives every process: the diary that nodes and their tormentor write (one file, lines in the
order of writing, times of the machine's monotonic clock), the store at the end, and what a follower of the events saw.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from shoal import Event, Task, TaskStatus
from tests.support.facts import check_story

__all__ = ["History", "Line", "faults", "figures", "handovers", "read_diary"]

GUARD = 3
"""How often the time that is promised: the promise is for a machine that is not overloaded, and is shown by the figures."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the diary.

    Of a task: ``begin``, ``tick``, ``step`` (an effect), ``recorded``, ``took`` and ``gave`` (a lock), ``end``. Of messages:
    ``said`` (acknowledged), ``heard``. Done to a life of a node: ``killed``, ``frozen``, ``thawed``, ``cut``, ``healed``; to
    all of them: ``server``.
    """

    at: float
    kind: str
    node: str = ""
    life: str = ""
    task: str = ""
    attempt: int = 0
    work: str = ""
    key: str = ""
    value: str = ""
    token: int = 0
    message: str = ""
    durable: bool = False
    sender: str = ""
    to: str = ""
    number: int = 0


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run.

    ``acknowledged``: the ids of tasks whose submission returned; ``followed``: the ids of the events that a follower saw,
    in its order; ``lease``: of the nodes, in seconds; ``skewed``: their wall clocks differ by more than locks and plain
    messages live, which go by them.
    """

    diary: Sequence[Line]
    tasks: Sequence[Task]
    events: Sequence[Event]
    acknowledged: Collection[str]
    followed: Sequence[int]
    lease: float
    skewed: bool = False

    def lines(self, *kinds: str) -> Iterator[Line]:
        """Return the lines of these kinds, in order."""
        return (line for line in self.diary if line.kind in kinds)

    def lives(self, *kinds: str) -> set[str]:
        """Return to which lives such things were done."""
        return {line.life for line in self.lines(*kinds)}


def read_diary(file: Path) -> list[Line]:
    """Return the lines of a diary."""
    return [msgspec.json.decode(line, type=Line) for line in file.read_bytes().splitlines()]


def faults(history: History) -> list[str]:
    """Return every promise that was broken, in words; none is an empty list."""
    return [fault for check in _CHECKS for fault in check(history)]


def handovers(history: History) -> list[float]:
    """Return for each attempt that a kill or a freeze cut short after how many seconds another began."""
    struck = {line.life: line.at for line in history.lines("killed", "frozen")}
    taken: list[float] = []
    for lines in _by_task(history).values():
        begins = [line for line in lines if line.kind == "begin"]
        for earlier, later in itertools.pairwise(begins):
            if earlier.life != later.life and earlier.at < struck.get(earlier.life, earlier.at) < later.at:
                taken.append(later.at - struck[earlier.life])
    return taken


def figures(history: History) -> Mapping[str, float]:
    """Return what the run was, in numbers."""
    kinds = Counter(line.kind for line in history.diary)
    slowest = max(handovers(history), default=0.0)
    return {"tasks": len(history.acknowledged), "slowest handover": round(slowest, 2), **kinds}


def _by_task(history: History) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in history.diary:
        if line.task:
            found[line.task].append(line)
    return found


# -- tasks


def _nothing_is_lost(history: History) -> Iterator[str]:
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


def _stories_are_legal(history: History) -> Iterator[str]:
    try:
        check_story(history.tasks, history.events)
    except AssertionError as error:
        yield f"the story of a task cannot be: {error}"


def _attempts_are_few(history: History) -> Iterator[str]:
    """One attempt is made by one node, once; there is one more for each time that a node was lost with the task on it."""
    losses = Counter((e.task_id, e.node_id) for e in history.events if e.event_type == "task_interrupted")
    retries = Counter(e.task_id for e in history.events if e.event_type == "task_retrying")
    if retries and not (history.lives("cut", "frozen") or any(history.lines("server"))):
        yield f"{retries.total()} attempts failed, and no server was out of reach"
    allowed = retries + Counter(task_id for task_id, _ in losses.elements())
    for (task_id, node_id), times in losses.items():
        if times > 1:
            yield f"task {task_id} was lost {times} times with the one node {node_id}"
    for task_id, lines in _by_task(history).items():
        begun = [line for line in lines if line.kind == "begin"]
        for attempt, times in Counter(line.attempt for line in begun).items():
            if times > 1:
                yield f"attempt {attempt} of task {task_id} began {times} times"
        if len(begun) > 1 + allowed[task_id]:
            yield f"task {task_id} was executed {len(begun)} times and lost {allowed[task_id]} times"


def _attempts_follow_each_other(history: History) -> Iterator[str]:
    """Nothing is done in an attempt once a later one has begun.

    But a node that was frozen cannot know it: what it was about to do, one thing for each attempt, it does when it thaws.
    """
    frozen = history.lives("frozen")
    for task_id, lines in _by_task(history).items():
        newest = 0
        late: Counter[tuple[str, int]] = Counter()
        for line in lines:
            newest = max(newest, line.attempt)
            if line.attempt < newest and line.kind not in ("gave", "end"):
                late[line.life, line.attempt] += 1
                if line.life not in frozen or late[line.life, line.attempt] > 1 or line.kind == "recorded":
                    what = f"{line.kind} of attempt {line.attempt} of task {task_id} in {line.life}"
                    yield f"{what} after attempt {newest} began"


def _steps_are_done_once(history: History) -> Iterator[str]:
    outputs = {task.task_id: task.output_data for task in history.tasks}
    for task_id, lines in _by_task(history).items():
        recorded: dict[str, str] = {}
        done: Counter[str] = Counter()
        newest = 0
        for line in lines:
            newest = max(newest, line.attempt)
            if line.kind == "step" and line.attempt == newest:
                done[line.key] += 1
                if line.key in recorded:
                    yield f"{line.key!r} of task {task_id} was done again after it was recorded"
            elif line.kind == "recorded" and recorded.setdefault(line.key, line.value) != line.value:
                yield f"{line.key!r} of task {task_id} was recorded with two values"
        begun = sum(line.kind == "begin" for line in lines)
        yield from (
            f"{key!r} of task {task_id} was done {n} times in {begun} attempts" for key, n in done.items() if n > begun
        )
        if recorded and isinstance(outputs.get(task_id), dict) and outputs[task_id] != recorded:
            yield f"the output of task {task_id} is not what its steps recorded"


def _others_take_over_in_time(history: History) -> Iterator[str]:
    limit = (history.lease + 1.0) * GUARD
    yield from (
        f"{taken:.1f} s passed until a dead node's work went on" for taken in handovers(history) if taken > limit
    )


# -- messages


def _messages_are_heard(history: History) -> Iterator[str]:
    heard: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in history.lines("heard"):
        heard[line.message, line.to].append(line.life)
    for (message, to), lives in heard.items():
        twice = [life for life, times in Counter(lives).items() if times > 1]
        if twice:
            yield f"message {message} was handled more than once by {to} in {twice[0]}"
    for line in history.lines("said"):
        if line.durable and (line.message, line.to) not in heard:
            yield f"durable message {line.number} of {line.sender} to {line.to} was acknowledged and never handled"


def _quiet_nodes_lose_no_message(history: History) -> Iterator[str]:
    """Plain messages are lost with a node or a server; among nodes to which nothing was done they are not."""
    if history.skewed or any(history.lines("server")):
        return
    disturbed = history.lives("killed", "frozen", "cut")
    names = {line.node for line in history.lines("up") if line.life in disturbed}
    heard = {(line.message, line.to) for line in history.lines("heard")}
    for line in history.lines("said"):
        quiet = not (line.durable or line.life in disturbed or line.to.removeprefix("listener-") in names)
        if quiet and (line.message, line.to) not in heard:
            yield f"message {line.number} of {line.life} to {line.to} was never handled, and nothing was done to them"


def _messages_keep_their_order(history: History) -> Iterator[str]:
    """Of those that were acknowledged: one whose sender was told an error may be lost, or come late by a slow network."""
    said = {(line.message, line.to) for line in history.lines("said")}
    last: dict[tuple[str, str], int] = defaultdict(int)
    for line in history.lines("heard"):
        if (line.message, line.to) not in said:
            continue
        said.discard((line.message, line.to))  # when it comes again, its first handler was cut short
        if line.number <= last[line.sender, line.to]:
            yield f"{line.to} heard {line.number} of {line.sender} after {last[line.sender, line.to]}"
        last[line.sender, line.to] = max(line.number, last[line.sender, line.to])


# -- locks


def _one_holds_a_lock(history: History) -> Iterator[str]:
    """Tokens rise, and who knew that he held it to the end held it alone. Who was disturbed may have lost it."""
    if history.skewed:
        return
    frozen = history.lives("frozen")
    held: dict[int, Line] = {}
    last = 0
    for line in history.lines("took", "gave"):
        if line.kind == "gave":
            if line.token not in held:
                yield f"token {line.token} was given back and never taken"
            elif line.token != last:
                yield f"{line.life} held token {line.token} while {held[last].life} held token {last}"
            continue
        if line.token <= last and line.life not in frozen:
            yield f"token {line.token} came after {last}"
        held[line.token] = line
        last = max(last, line.token)
    given = {line.token for line in history.lines("gave")}
    disturbed = history.lives("killed", "frozen", "cut")
    if not any(history.lines("server")):
        lost = [line for token, line in held.items() if token not in given and line.life not in disturbed]
        yield from (f"{line.life} lost the lock of token {line.token}, and nothing was done to it" for line in lost)


# -- events


def _events_are_seen_once(history: History) -> Iterator[str]:
    ids = [event.event_id for event in history.events]
    for what, numbers in (("the store", ids), ("the follower", history.followed)):
        for one, two in itertools.pairwise(numbers):
            if two <= one:
                yield f"event {two} comes after {one} in what {what} tells"
    missed = sorted(set(ids) - set(history.followed))
    made_up = sorted(set(history.followed) - set(ids))
    if missed:
        yield f"the follower missed {len(missed)} events, the first is {missed[0]}"
    if made_up:
        yield f"the follower saw {len(made_up)} events that are not there, the first is {made_up[0]}"


_CHECKS: Sequence[Callable[[History], Iterator[str]]] = (
    _nothing_is_lost,
    _stories_are_legal,
    _attempts_are_few,
    _attempts_follow_each_other,
    _steps_are_done_once,
    _others_take_over_in_time,
    _messages_are_heard,
    _quiet_nodes_lose_no_message,
    _messages_keep_their_order,
    _one_holds_a_lock,
    _events_are_seen_once,
)
