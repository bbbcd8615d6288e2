"""The history of a run in which bad things happened: what is known of it, and what it was in numbers.

It is put together from what outlives every process: the diary that nodes and their tormentor write (one file, lines in the
order of writing, times of the machine's monotonic clock), the store at the end, and what a follower of the events saw.
Whether it keeps what was promised says ``promises.faults``.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shoal import Event, Task
from shoal.kernel.run import RunRecord

__all__ = [
    "HARMS",
    "STRUCK",
    "WORKS",
    "History",
    "Line",
    "by_task",
    "figures",
    "handovers",
    "read_diary",
    "struck_work",
]

WORKS: dict[str, float] = {
    "plain": 2,
    "steps": 2,
    "guarded": 1,
    "locked": 1,
    "after": 1,
    "flaky": 0.5,
    "counted": 1,
    "kept": 0.5,
}
"""The kinds of tasks, and how often each is given."""
HARMS = ("killed", "frozen", "cut", "drained", "server", "disk")
"""What is done to lives of nodes, or to all of them."""
STRUCK = ("killed", "frozen", "cut", "ended")
"""After these a life may have been taken for dead."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the diary.

    Of a task: ``begin``, ``tick``, ``step`` (an effect), ``recorded``, ``took`` and ``gave`` (a lock), ``counted`` (added
    to a shared value), ``failed`` (it is about to raise), ``end``. Of a run: ``run`` (it was begun), ``call`` (a stage,
    what it answers, and the text it was given). Of messages: ``said`` (acknowledged), ``heard``. Done to a life of a node:
    ``killed``, ``ended`` (killed, for it knows that it is lost), ``frozen``, ``thawed``, ``cut`` and ``healed`` (``key``:
    from what), ``drained``; to all of them: ``server``, ``disk``.
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
    run: str = ""
    text: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run.

    ``acknowledged``: the ids of tasks whose submission returned; ``followed``: the ids of the events that a follower saw,
    in its order; ``results``: of runs that have one; ``tallies``: shared values at the end; ``lease``: of the nodes, in
    seconds.
    """

    diary: Sequence[Line]
    tasks: Sequence[Task]
    events: Sequence[Event]
    acknowledged: Collection[str]
    followed: Sequence[int]
    runs: Sequence[RunRecord]
    results: Mapping[str, Any]
    tallies: Mapping[str, Sequence[str]]
    lease: float

    def lines(self, *kinds: str) -> Iterator[Line]:
        """Return the lines of these kinds, in order."""
        return (line for line in self.diary if line.kind in kinds)

    def lives(self, *kinds: str) -> set[str]:
        """Return to which lives such things were done."""
        return {line.life for line in self.lines(*kinds)}

    def upset(self) -> bool:
        """Tell whether a server was out of reach of somebody for a while."""
        return any(self.lines("cut", "frozen", "server", "disk"))


def read_diary(file: Path) -> list[Line]:
    """Return the lines of a diary."""
    return [msgspec.json.decode(line, type=Line) for line in file.read_bytes().splitlines()]


def by_task(history: History) -> dict[str, list[Line]]:
    """Return what is said of each task, in order."""
    found: dict[str, list[Line]] = defaultdict(list)
    for line in history.diary:
        if line.task:
            found[line.task].append(line)
    return found


def handovers(history: History) -> list[float]:
    """Return for each attempt that a kill, a freeze or a cut from the store ended after how long another began."""
    struck = _struck(history)
    taken: list[float] = []
    for lines in by_task(history).values():
        begins = [line for line in lines if line.kind == "begin"]
        for earlier, later in itertools.pairwise(begins):
            if earlier.life != later.life:
                strikes = [at for at in struck[earlier.life] if earlier.at < at < later.at]
                taken += [later.at - at for at in strikes[:1]]
    return taken


def struck_work(history: History) -> int:
    """Return how many attempts were under way in a life that was struck, at that moment."""
    struck = _struck(history)
    under_way = 0
    for lines in by_task(history).values():
        ends = {(line.life, line.attempt): line.at for line in lines if line.kind in ("end", "failed")}
        for line in lines:
            if line.kind == "begin":
                end = ends.get((line.life, line.attempt), float("inf"))
                under_way += sum(line.at < at < end for at in struck[line.life])
    return under_way


def _struck(history: History) -> dict[str, list[float]]:
    """Return when each life was struck so that others may take over from it."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in history.lines("killed", "frozen", "cut"):
        if line.kind != "cut" or line.key == "store":
            found[line.life].append(line.at)
    return found


def figures(history: History) -> Mapping[str, float]:
    """Return what the run was, in numbers."""
    kinds = Counter(line.kind for line in history.diary)
    taken = sorted(handovers(history))
    begun = Counter(line.task for line in history.lines("begin"))
    told = Counter(event.event_type for event in history.events)
    return {
        "tasks": len(history.acknowledged),
        "attempts under way when struck": struck_work(history),
        "executions beyond one": sum(times - 1 for times in begun.values()) - kinds["failed"],
        "attempts lost": told["task_interrupted"],
        "nodes given up": told["node_lost"],
        "handovers": len(taken),
        "slowest handover": round(taken[-1], 2) if taken else 0.0,
        "median handover": round(taken[len(taken) // 2], 2) if taken else 0.0,
        **kinds,
    }
