"""Errors of runs."""

from __future__ import annotations

from shoal.errors.root import ShoalError

__all__ = [
    "BudgetExceededError",
    "LoopDetectedError",
    "RunActiveError",
    "RunChangedError",
    "RunConflictError",
    "RunError",
    "RunNotFoundError",
]


class RunError(ShoalError, RuntimeError):
    """Something about one run. ``run_id`` names it."""

    def __init__(self, text: str, *, run_id: str = "", note: str | None = None) -> None:
        self.run_id = run_id
        super().__init__(text, note=note)


class RunNotFoundError(RunError, LookupError):
    """No run, or no step of it, has this id."""


class RunActiveError(RunError):
    """The run is being carried out by ``node``."""

    def __init__(self, run_id: str, node: str) -> None:
        self.node = node
        super().__init__(
            f"run {run_id!r:.200} is being carried out by node {node!r:.200}",
            run_id=run_id,
            note="Follow it with runtime.runs.events, or cancel it with runtime.runs.cancel.",
        )


class RunConflictError(RunError):
    """A run of this id exists with another pattern or another input. Nothing was changed."""


class RunChangedError(RunError):
    """A recorded step would be done with another input now: the program has changed. ``step`` is its key."""

    def __init__(self, run_id: str, step: str) -> None:
        self.step = step
        super().__init__(
            f"step {step!r:.300} of run {run_id!r:.200} was recorded with another input",
            run_id=run_id,
            note="Use RunOptions(on_change='rerun') to do it and all that came after it anew, "
            "or runtime.runs.fork(run_id, before=step) for a run of its own.",
        )


class BudgetExceededError(RunError):
    """A call would exceed a budget, so it was not made.

    ``limit`` names the limit (max_cost, max_tokens, max_calls, max_seconds), ``spent`` what is used of it, ``needed``
    what the call needs at most, ``scope`` the part of the run whose budget it is.
    """

    def __init__(self, limit: str, spent: float, needed: float, scope: str = "") -> None:
        self.limit = limit
        self.spent = spent
        self.needed = needed
        self.scope = scope
        super().__init__(
            f"budget exceeded: {limit} of {scope or 'the run'!s:.200}: {spent:.10g} used, {needed:.10g} more needed",
            note="Go on with the same run_id and a larger budget: nothing that is finished is paid for again.",
        )


class LoopDetectedError(RunError):
    """Work went in circles. ``kind``: same_call, tool_calls, handoff, plan or round; ``evidence``: what was repeated."""

    def __init__(self, kind: str, evidence: str) -> None:
        self.kind = kind
        self.evidence = evidence
        super().__init__(f"loop detected ({kind}): {evidence[:1000]}")
