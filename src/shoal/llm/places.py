"""Where an agent is asked: in a run, or outside of any."""

from __future__ import annotations

from shoal.kernel.scope import Scope, current_scope
from shoal.kernel.starting import live_in_memory
from shoal.kernel.taskrun import in_task

__all__ = ["is_outside", "place_now"]


def is_outside() -> bool:
    """Tell whether this code is part of no run."""
    return current_scope.get() is None and not in_task()


def place_now(name: str) -> Scope | None:
    """Return the place of what is entered now; None where it takes a moment to find it."""
    scope = current_scope.get()
    if scope is not None:
        return scope.settle_in(name)
    return None if in_task() else live_in_memory(name).root.settle_in(name)
