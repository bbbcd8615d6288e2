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
    """Both books, and how many attempts a crash cut short."""

    tasks: int
    events: Book
    effects: Book
    interrupted: int


def read_effects(file: Path) -> Counter[str]:
    """Return how often each task's work was really executed, by task key."""
    return Counter(file.read_text(encoding="utf-8").splitlines()) if file.exists() else Counter()


async def take_tally(store: Path, events_file: Path, effects_file: Path, planned: list[str]) -> Tally:
    """Return what the store's events and the effect log say of the *planned* tasks, by key."""
    async with AgentRuntime(store) as runtime:
        await runtime.export_events(events_file)
    completed: Counter[str] = Counter()
    interrupted = 0
    with events_file.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            completed[event["task_id"]] += event["event_type"] == "task_completed"
            interrupted += event["event_type"] == "task_interrupted"
    by_id = Counter({task_id: number for task_id, number in completed.items() if number})
    effects = read_effects(effects_file)
    return Tally(
        tasks=len(planned),
        events=Book(done=len(by_id), lost=len(planned) - len(by_id), twice=_twice(by_id)),
        effects=Book(
            done=sum(effects[key] > 0 for key in planned),
            lost=sum(effects[key] == 0 for key in planned),
            twice=_twice(effects),
        ),
        interrupted=interrupted,
    )


def _twice(counts: Counter[str]) -> int:
    return sum(number > 1 for number in counts.values())
