"""That something was at stake: a history in which nothing was done, or nothing was struck, proves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.history import HARMS, WORKS, History, struck_work

__all__ = ["CHECKS"]


def every_kind_of_work_was_done(history: History) -> Iterator[str]:
    works = {line.task: line.work for line in history.lines("begin")}
    ended = Counter(works.get(line.task, "") for line in history.lines("end"))
    yield from (f"no {work!r} task was done" for work in WORKS if not ended[work])
    kinds = Counter(line.kind for line in history.diary)
    wanted = ("run", "call", "said", "recorded", "failed", "gave", "counted")
    yield from (f"nothing is {kind!r} in the diary" for kind in wanted if not kinds[kind])
    for durable in (True, False):
        if not any(line.durable is durable for line in history.lines("heard")):
            yield f"no {'durable' if durable else 'plain'} message was heard"


def work_went_on(history: History) -> Iterator[str]:
    """After each harm something new was begun in another life, before the next one."""
    quiet: list[str] = []
    waiting: tuple[str, str] | None = None
    for line in history.diary:
        if line.kind in HARMS and not (line.kind == "drained" and waiting and waiting[0] == "drained"):
            if waiting is not None:
                quiet.append(f"nothing was begun elsewhere after {waiting[1]} was {waiting[0]}")
            waiting = line.kind, line.life
        elif line.kind == "begin" and waiting is not None and line.life != waiting[1]:
            waiting = None
    yield from quiet


def work_was_struck(history: History) -> Iterator[str]:
    if history.lives("killed") and not struck_work(history):
        yield "nothing was under way on a node that was killed"


CHECKS = (every_kind_of_work_was_done, work_went_on, work_was_struck)
