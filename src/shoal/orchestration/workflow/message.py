"""The message by which work is given to somebody: its JSON has exactly these keys, in this order."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.orchestration.workflow.expected import ExpectedOutput

__all__ = ["WorkMessage", "WorkOrder"]


class WorkOrder(msgspec.Struct, frozen=True):
    """What is to be done. ``input_data``: what was handed in before, by role and title."""

    description: str
    requirements: tuple[str, ...] = ()
    input_data: dict[str, Any] = {}


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Work for somebody.

    Attributes:
        message_id: ``msg_1``, ``msg_2`` … in the order of the run.
        from_agent, to_agent: names of roles in lower case.
        task_type: as of the step.
        priority: ``high``, ``medium``, ``low``, or 0 to 100, 0 first; it goes out as it came in.
        context: JSON values by name.
        task, expected_output: what is to be done, and what must be handed in.
    """

    message_id: str
    from_agent: str
    to_agent: str
    task_type: str
    priority: str | int
    context: dict[str, Any] = {}
    task: WorkOrder
    expected_output: ExpectedOutput = ExpectedOutput()
