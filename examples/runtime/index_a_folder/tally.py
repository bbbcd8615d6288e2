"""Counting what happened, from two books: the events of the store, and the effect log of the agents."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from shoal import AgentRuntime

__all__ = ["Tally", "read_effects", "take_tally"]


@dataclass(frozen=True)
class Book:
    """What one book says: how many tasks were done, lost, and done twice."""

    done: int
    lost: int
    twice: int


@dataclass(frozen=True)
class Tally:
    """Both books, how many attempts a crash cut short, and how many tasks were executed twice for no such reason."""

    tasks: int
    events: Book
    effects: Book
    interrupted: int
    unexplained: int


def read_effects(file: Path) -> Counter[str]:
    """Return how often each task's work was really executed, by task key."""
    return Counter(file.read_text(encoding="utf-8").splitlines()) if file.exists() else Counter()


async def take_tally(store: Path, events_file: Path, effects_file: Path, planned: list[str]) -> Tally:
    """Return what the store's events and the effect log say of the *planned* tasks, by key."""
    async with AgentRuntime(store) as runtime:
        await runtime.export_events(events_file)
        completed = _count(events_file, "task_completed")
        interrupted = _count(events_file, "task_interrupted")
        cut_short = {runtime.get_task_status(task_id).idempotency_key for task_id in interrupted}
    effects = read_effects(effects_file)
    return Tally(
        tasks=len(planned),
        events=Book(done=len(completed), lost=len(planned) - len(completed), twice=_twice(completed)),
        effects=Book(
            done=sum(effects[key] > 0 for key in planned),
            lost=sum(effects[key] == 0 for key in planned),
            twice=_twice(effects),
        ),
        interrupted=interrupted.total(),
        unexplained=sum(number > 1 and key not in cut_short for key, number in effects.items()),
    )


def _count(events_file: Path, event_type: str) -> Counter[str]:
    """Return how many events of this type there are, by task id."""
    events = map(json.loads, events_file.read_text(encoding="utf-8").splitlines())
    return Counter(event["task_id"] for event in events if event["event_type"] == event_type)


def _twice(counts: Counter[str]) -> int:
    return sum(number > 1 for number in counts.values())
