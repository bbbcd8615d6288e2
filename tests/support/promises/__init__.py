"""What is promised, whatever happens to nodes and servers, and whether a history keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.support.history import History
from tests.support.promises import events, holders, messages, runs, substance, tasks, works

__all__ = ["faults"]

CHECKS: Sequence[Callable[[History], Iterator[str]]] = (
    *tasks.CHECKS,
    *works.CHECKS,
    *runs.CHECKS,
    *messages.CHECKS,
    *holders.CHECKS,
    *events.CHECKS,
    *substance.CHECKS,
)


def faults(history: History) -> list[str]:
    """Return every promise that was broken, in words; none is an empty list."""
    return [fault for check in CHECKS for fault in check(history)]
