"""What a reviewer says of others' work."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Facts", "Issue", "Review", "Severity", "Status"]

Severity = Literal["HIGH", "MEDIUM", "LOW"]
Status = Literal["open", "resolved", "waived"]


class Issue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fault that a reviewer found.

    Attributes:
        id: ``R1``, ``R2`` … in the order of finding, unless the reviewer gave one; empty in a review that was just read.
        severity, title, file, line: what it is, and where.
        status: only a reviewer closes it (``resolved``), or a conflict that overrules it (``waived``).
        opened_in, closed_in: ids of the messages whose answers opened and closed it.
        conflict_id: the conflict that waived it.
        opened_by: the role of whoever found it.
    """

    id: str = ""
    severity: Severity = "HIGH"
    title: str
    file: str = ""
    line: int | None = None
    status: Status = "open"
    opened_in: str = ""
    closed_in: str = ""
    conflict_id: str = ""
    opened_by: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many statements a reviewer checked, and how many of them were correct."""

    checked: int = 0
    correct: int = 0


class Review(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reviewer's judgement of one round.

    Attributes:
        score: 0 to 100.
        issues: what it found this time, as it named them.
        resolved: ids that it closes.
        recommendations: what it advises.
        approved: whether it says so; whether the work *is* approved is for the orchestrator to tell.
        facts: statements it has checked; None: it told none.
    """

    score: int = 0
    issues: tuple[Issue, ...] = ()
    resolved: tuple[str, ...] = ()
    recommendations: tuple[str, ...] = ()
    approved: bool = False
    facts: Facts | None = None
