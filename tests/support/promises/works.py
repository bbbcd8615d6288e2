"""Promises to code within tasks: steps are done once, dependents wait, what is added to a shared value is in it once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.history import History, by_task

__all__ = ["CHECKS"]


def steps_are_done_once(history: History) -> Iterator[str]:
    outputs = {task.task_id: task.output_data for task in history.tasks}
    for task_id, lines in by_task(history).items():
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


def dependents_wait(history: History) -> Iterator[str]:
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    for line in history.lines("begin", "end"):
        (begun if line.kind == "begin" else ended).setdefault(line.task, line.at)
    for task in history.tasks:
        for before in task.dependencies:
            if task.task_id in begun and begun[task.task_id] < ended.get(before, float("inf")):
                yield f"task {task.task_id} began before task {before} ended, which it depends on"


def shared_values_have_all(history: History) -> Iterator[str]:
    """What was added is in the value, once, and nothing else is."""
    entries = Counter(entry for tally in history.tallies.values() for entry in tally)
    yield from (f"{entry} is {times} times in a shared value" for entry, times in entries.items() if times > 1)
    for line in history.lines("counted"):
        if line.value not in history.tallies.get(line.key, ()):
            yield f"{line.value} was added to {line.key!r} and is not in it"
    begun = {f"{line.task}/{line.attempt}" for line in history.lines("begin")}
    unknown = [entry for entry in entries if entry.rpartition("/")[0] not in begun]
    yield from (f"{entry} is in a shared value and was never begun" for entry in unknown)


CHECKS = (steps_are_done_once, dependents_wait, shared_values_have_all)
