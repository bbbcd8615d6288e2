"""How an orchestrator works."""

from __future__ import annotations

from typing import Literal

import msgspec

from shoal.orchestration.checks import check_count, check_seconds
from shoal.orchestration.workflow.review import Severity

__all__ = ["OrchestratorConfig"]

_SEVERITIES = ("HIGH", "MEDIUM", "LOW")
_QUESTIONS = ("plan", "final")
_TIMES = ("decomposition_timeout", "task_timeout", "conflict_timeout", "report_timeout", "health_timeout")


class OrchestratorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an orchestrator works.

    Args:
        decomposition_timeout: seconds for the plan.
        task_timeout: seconds for one hand-in; then another instance takes over.
        conflict_timeout: seconds for each position and for the resolution of a conflict.
        report_timeout: seconds for the summary.
        health_timeout: seconds for an agent to say how it is.
        max_rework: how often work is sent back before its step fails.
        pass_score: the least score of approved work.
        blocking: the severities whose open issues block an approval.
        max_steps: of a plan.
        max_parallel: steps under way at once.
        on_failure: after a failed step ``stop`` (running steps finish, none start) or ``continue`` (with what does not
            depend on it).
        approve: what a person decides: ``plan``, ``final``.

    Raises:
        ValueError: a field, its value and what is allowed.
    """

    decomposition_timeout: float = 120.0
    task_timeout: float = 1800.0
    conflict_timeout: float = 300.0
    report_timeout: float = 120.0
    health_timeout: float = 5.0
    max_rework: int = 3
    pass_score: int = 90
    blocking: tuple[Severity, ...] = ("HIGH", "MEDIUM", "LOW")
    max_steps: int = 50
    max_parallel: int = 4
    on_failure: Literal["stop", "continue"] = "stop"
    approve: tuple[Literal["plan", "final"], ...] = ()

    def __post_init__(self) -> None:
        for name in _TIMES:
            if getattr(self, name) is None:
                raise ValueError(f"{name}=None: it must be seconds above 0")
            check_seconds(getattr(self, name), name)
        check_count(self.max_rework, "max_rework", 0)
        check_count(self.max_steps, "max_steps")
        check_count(self.max_parallel, "max_parallel")
        check_count(self.pass_score, "pass_score", 0)
        if self.pass_score > 100:
            raise ValueError(f"pass_score={self.pass_score}: it must be a whole number from 0 to 100")
        if self.on_failure not in ("stop", "continue"):
            raise ValueError(f"on_failure={self.on_failure!r:.80}: it must be 'stop' or 'continue'")
        _check_words(self.blocking, "blocking", _SEVERITIES)
        _check_words(self.approve, "approve", _QUESTIONS)


def _check_words(words: object, field: str, allowed: tuple[str, ...]) -> None:
    if not isinstance(words, (list, tuple)) or not set(words) <= set(allowed):
        raise ValueError(f"{field}={words!r:.80}: it must be a tuple of {', '.join(allowed)}")
