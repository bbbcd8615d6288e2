"""What a team is given to do: the brief, and the steps that a plan makes of it."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.orchestration.workflow.expected import ExpectedOutput

__all__ = ["LEAD", "Brief", "WorkStep"]

LEAD = "Orchestrator"
"""The owner of what the lead does himself."""


class Brief(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task, and what must be known for it.

    Args:
        task: what is wanted, in words.
        context: JSON values by name that everybody is told; a text becomes ``{"notes": text}``.
        requirements: what the result must do, a text each.
        expected_output: what must be handed in at the end, and how it is checked.

    Raises:
        ValueError: a field, its value and what is allowed.
    """

    task: str
    context: dict[str, Any] | str = {}
    requirements: tuple[str, ...] = ()
    expected_output: ExpectedOutput | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, str) or not self.task.strip():
            raise ValueError(f"Brief(task={self.task!r:.80}): it must be a text that says what is wanted")
        if isinstance(self.context, str):
            msgspec.structs.force_setattr(self, "context", {"notes": self.context} if self.context.strip() else {})
        if not isinstance(self.context, dict) or not all(isinstance(name, str) for name in self.context):
            raise ValueError(
                f"Brief(context={self.context!r:.80}): it must be an object of JSON values by name, or a text"
            )
        given: Any = self.requirements
        if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) and each.strip() for each in given):
            raise ValueError(f"Brief(requirements={given!r:.80}): it must be a list of texts")
        msgspec.structs.force_setattr(self, "requirements", tuple(given))

    @property
    def known(self) -> dict[str, Any]:
        """Its context, by name."""
        assert isinstance(self.context, dict), "a text was made one"
        return self.context

    @classmethod
    def read(cls, given: Any) -> Brief:
        """Return the brief that *given* is: a Brief, a text, or an object of its fields. Raises ValueError, TypeError."""
        if isinstance(given, cls):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, dict):
            raise TypeError(f"a task must be a text or a Brief, not {type(given).__name__}")
        try:
            return msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"the brief cannot be read: {error}") from error


class WorkStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a plan.

    Attributes:
        id: its number in the plan, from "1", or a word of the planner's.
        title: what the plan calls it.
        owner: a role, or ``"Orchestrator"``: the lead himself.
        task_type: research, design, implementation, testing, review, check or another word. A ``review`` judges others.
        depends_on: ids of steps that must be completed before.
        reviews: of a review, the ids of the steps whose work it looks at; empty: see ``Plan``.
        requirements: beside those of the brief.
        expected_output: what must be handed in, and how it is checked.
        estimate_seconds: how long it should take.
        task, context: what is asked and what to look at, in words; empty: the title, and the brief's context.
    """

    id: str
    title: str
    owner: str
    task_type: str = "work"
    depends_on: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    expected_output: ExpectedOutput | None = None
    estimate_seconds: float | None = None
    task: str = ""
    context: str = ""

    @property
    def is_review(self) -> bool:
        """Whether it judges others' work."""
        return self.task_type == "review"
