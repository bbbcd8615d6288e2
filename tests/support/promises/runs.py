"""Promises of runs: each comes to its end on whichever node, a recorded call is never made again, and budgets hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from shoal.kernel.run import RunRecord, RunStatus
from tests.support.history import STRUCK, History, Line

__all__ = ["CHECKS"]


def _calls(history: History) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in history.lines("call"):
        found[line.run].append(line)
    return found


def runs_are_finished(history: History) -> Iterator[str]:
    records = {run.run_id: run for run in history.runs}
    for line in history.lines("run"):
        run = records.get(line.run)
        if run is None:
            yield f"run {line.run} was begun and is not in the store"
        elif run.status is not RunStatus.COMPLETED and not _is_spent(run):
            yield f"run {line.run} was begun and is {run.status} at the end ({run.error})"


def _is_spent(run: RunRecord) -> bool:
    """Tell whether a run ended since its budget was used, by calls whose end was lost among others."""
    if run.budget is None or run.budget.max_calls is None:
        return False
    return run.stopped == "budget" and run.usage.calls + run.usage.lost_calls >= run.budget.max_calls


def budgets_hold(history: History) -> Iterator[str]:
    calls = _calls(history)
    for run in history.runs:
        if run.budget is not None and run.budget.max_calls is not None:
            made = len(calls[run.run_id])
            if made > run.budget.max_calls:
                yield f"{made} calls of run {run.run_id} were made, and its budget is {run.budget.max_calls}"


def calls_are_few(history: History) -> Iterator[str]:
    """A call is made again only when the life that made it was struck, or a server was out of its reach."""
    struck = history.lives(*STRUCK)
    for run_id, lines in _calls(history).items():
        before: dict[int, Line] = {}
        for line in lines:
            earlier = before.get(line.number)
            if (
                earlier is not None
                and not history.upset()
                and (earlier.life == line.life or earlier.life not in struck)
            ):
                yield f"call {line.number} of run {run_id} was made in {earlier.life} and again in {line.life}"
            before[line.number] = line


def recorded_calls_are_not_repeated(history: History) -> Iterator[str]:
    """Once a call is made with an answer, that answer is recorded: it stays, and the call is not made again.

    But a node that was frozen makes the one call that it was about to make.
    """
    frozen = history.lives("frozen")
    for run_id, lines in _calls(history).items():
        texts: dict[int, str] = {}
        newest = -1
        late: Counter[str] = Counter()
        for line in lines:
            if texts.setdefault(line.number, line.text) != line.text:
                yield f"call {line.number} of run {run_id} was made with two texts"
            if line.number < newest:
                late[line.life] += 1
                if line.life not in frozen or late[line.life] > 1:
                    yield f"call {line.number} of run {run_id} was made again after call {newest}"
            newest = max(newest, line.number)


def results_are_what_was_said(history: History) -> Iterator[str]:
    calls = _calls(history)
    for run in history.runs:
        if run.status is not RunStatus.COMPLETED:
            continue
        said = {f"{line.text} {line.value}" for line in calls[run.run_id]}
        result = history.results.get(run.run_id)
        content = result.get("content") if isinstance(result, dict) else None
        if content not in said:
            yield f"the result of run {run.run_id} is {content!r}, which no call has answered"


CHECKS = (
    runs_are_finished,
    budgets_hold,
    calls_are_few,
    recorded_calls_are_not_repeated,
    results_are_what_was_said,
)
