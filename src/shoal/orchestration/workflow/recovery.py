"""What was done when an agent failed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["ACTIONS", "ActionKind", "Recovery", "RecoveryAction"]

ActionKind = Literal["health_check", "reassigned", "delay_notified", "timeline_adjusted", "logged"]
ACTIONS: tuple[ActionKind, ...] = ("health_check", "reassigned", "delay_notified", "timeline_adjusted", "logged")
"""The actions of a recovery, in their order."""


class RecoveryAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the five. ``text`` for people, ``details`` for programs."""

    kind: ActionKind
    text: str
    at: datetime
    details: dict[str, Any] = {}


class Recovery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done when an instance failed at a step.

    Attributes:
        step_id, agent, instance: where; the role; who failed.
        reason: such as ``Timeout (agent took >30min)``.
        actions: in the order of ``ACTIONS``.
        backup: who took over; None: nobody could.
        delay_seconds: of the step, once it has ended.
        result: such as ``Task completed by backup agent``.
    """

    step_id: str
    agent: str
    instance: str
    reason: str
    actions: tuple[RecoveryAction, ...] = ()
    backup: str | None = None
    delay_seconds: float = 0.0
    result: str = ""
