"""What was done about an agent that failed, as people read it."""

from __future__ import annotations

from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.durations import delay_text
from shoal.orchestration.workflow.lines import one_line
from shoal.orchestration.workflow.recovery import ActionKind, Recovery

__all__ = ["ACTION_TEXTS", "recovery_text"]

ACTION_TEXTS: dict[ActionKind, str] = {
    "health_check": "Check agent health",
    "reassigned": "Re-assign task to different agent instance",
    "delay_notified": "Notify of delay",
    "timeline_adjusted": "Adjust timeline",
    "logged": "Log for monitoring",
}
"""What each action of a recovery is called."""


def recovery_text(recovery: Recovery, arrow: str = "→") -> str:
    """Return *recovery* as a failure with its reason, the actions that were taken, in order, their result and the delay.

    Args:
        recovery: what was done.
        arrow: what stands between sender and receiver.
    """
    actions = [f"{number}. {ACTION_TEXTS[each.kind]}" for number, each in enumerate(recovery.actions, start=1)]
    return "\n".join(
        [
            f"[{LEAD}] {arrow} [{one_line(recovery.agent)}]: Task failed",
            f"  Reason: {one_line(recovery.reason)}",
            "",
            f"[{LEAD}] Recovery Actions:",
            *actions,
            "",
            f"Recovery Result: {one_line(recovery.result) or _so_far(recovery)}",
            f"Total delay: {delay_text(recovery.delay_seconds)}",
        ]
    )


def _so_far(recovery: Recovery) -> str:
    if recovery.backup is None:
        return f"No other {one_line(recovery.agent)} instance"
    return f"Task given to {one_line(recovery.backup)}"
