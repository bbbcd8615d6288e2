"""Reading the plan in what a planner said: a JSON array anywhere in the text."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from shoal.orchestration.answers import sound
from shoal.orchestration.results import WorkerTask

__all__ = ["Plan", "read_plan"]

MOST_CANDIDATES = 1_000
MOST_SCANNED = 2_000_000
"""How many characters are looked at in all: a text of half-open brackets must not hold up the loop."""

MOST_PRIORITY = 1_000_000_000

NOT_THERE = "there is no JSON array of objects with worker and task in it"
EMPTY = "it is empty, and nothing is done yet"
ONLY_UNKNOWN = "it names no worker that is there"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a planner said, read.

    tasks: by priority, then in its order; empty with ``problem == ""``: nothing is left to do.
    reasons: (worker, why), in its order.
    problem: why it is of no use, "" when it is.
    warnings: what was left out.
    """

    tasks: tuple[WorkerTask, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    warnings: tuple[str, ...] = ()


def read_plan(text: str, workers: Collection[str], iteration: int) -> Plan:
    """Return the plan in *text*: the first JSON array with an assignment in it, else an empty array.

    Args:
        text: what the planner said.
        workers: the names that may be named.
        iteration: from the second on an empty array means that all is done; before it is a problem.
    """
    array = _find_array(text)
    if array is None:
        return Plan(problem=NOT_THERE)
    if not array:
        return Plan(problem=EMPTY if iteration == 1 else "")
    tasks: list[WorkerTask] = []
    reasons: list[tuple[str, str]] = []
    warnings: list[str] = []
    for number, item in enumerate(array, start=1):
        problem = _problem(item, workers)
        if problem:
            warnings.append(f"assignment {number} of the planner is dropped: {problem}")
            continue
        task = _task(item, iteration, warnings)
        tasks.append(task)
        reason = item.get("reason")
        if isinstance(reason, str) and reason.strip():
            reasons.append((task.worker_name, sound(reason.strip())))
    tasks.sort(key=lambda task: task.priority)
    problem = "" if tasks else f"{ONLY_UNKNOWN}: the workers are {', '.join(workers)}"
    return Plan(tasks=tuple(tasks), reasons=tuple(reasons), problem=problem, warnings=tuple(warnings))


def _find_array(text: str) -> list[Any] | None:
    """Return the first array that holds an assignment; else an empty one, if there is one."""
    decoder = json.JSONDecoder()
    empty: list[Any] | None = None
    start, scanned = -1, 0
    for _ in range(MOST_CANDIDATES):
        start = text.find("[", start + 1)
        if start < 0 or scanned > MOST_SCANNED:
            break
        try:
            array, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            scanned += error.pos - start
            continue
        except (ValueError, RecursionError):  # a number with thousands of digits; brackets in thousands of brackets
            continue
        scanned += end - start
        if not array:
            empty = array
        elif any(_is_assignment(item) for item in array):
            return list(array)
    return empty


def _is_assignment(item: Any) -> bool:
    return isinstance(item, dict) and "worker" in item and "task" in item


def _problem(item: Any, workers: Collection[str]) -> str:
    if not isinstance(item, Mapping):
        return f"{item!r:.80} is no object"
    worker, task = item.get("worker"), item.get("task")
    if not isinstance(worker, str) or not isinstance(task, str) or not task.strip():
        return f"{item!r:.80} has no worker and task that are texts"
    return "" if worker.strip() in workers else f"there is no worker {worker!r:.80}"


def _task(item: Mapping[str, Any], iteration: int, warnings: list[str]) -> WorkerTask:
    worker, context = item["worker"].strip(), item.get("context")
    priority = _priority(item.get("priority"))
    if priority is None:
        warnings.append(f"the priority {item['priority']!r:.80} of {worker} is no whole number: it counts as 1")
    if context is not None and not isinstance(context, str):
        context = json.dumps(context, ensure_ascii=False)
    return WorkerTask(
        worker_name=worker,
        task=sound(item["task"].strip()),
        context=sound((context or "").strip()),
        priority=1 if priority is None else priority,
        iteration=iteration,
    )


def _priority(value: Any) -> int | None:
    """Return a priority, 1 where there is none; None if it cannot be one."""
    if value is None:
        return 1
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if abs(value) <= MOST_PRIORITY else None
