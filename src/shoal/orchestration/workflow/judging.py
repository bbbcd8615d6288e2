"""Whether reviewed work is approved."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.review import Issue, Review

__all__ = ["judge"]

DISAPPROVED = "the reviewer does not approve"


def judge(
    review: Review, open_issues: Sequence[Issue], config: OrchestratorConfig, checks: Sequence[str]
) -> tuple[str, ...]:
    """Return why the work is not approved; empty: it is.

    It is approved when the reviewer says so, the score is high enough, no issue of a blocking severity is open, and the
    checks have passed.

    Args:
        review: what the reviewer says.
        open_issues: all that are open; those of other severities do not count.
        config: the score that is needed, and the severities that block.
        checks: reasons of the checks of what was handed in.
    """
    reasons = [f"score {review.score} < {config.pass_score}"] if review.score < config.pass_score else []
    blocking = [f"{each.id} {each.severity} {each.title}" for each in open_issues if each.severity in config.blocking]
    if blocking:
        reasons.append(f"open: {', '.join(blocking)}")
    reasons += checks
    if not reasons and not review.approved:
        reasons.append(DISAPPROVED)
    return tuple(reasons)
