"""Conflicts between agents: their positions, what the rules say of them, and the decision on record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from shoal.orchestration.workflow.conflicttext import conflict_text

__all__ = ["Conflict", "ConflictRecord", "Position", "Rule", "Ruling"]


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one side holds. ``agent`` is its role."""

    agent: str
    statement: str
    evidence: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Conflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What rules decide on. ``owner``: the role whose work it is about."""

    id: str
    topic: str
    step_id: str = ""
    owner: str = ""
    positions: tuple[Position, ...] = ()
    requirements: tuple[str, ...] = ()


class Ruling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rule says: whose position wins, why, and what no proposal may drop."""

    rule: str
    winner: str
    reason: str
    constraint: str = ""


Rule = Callable[[Conflict], Ruling | None]
"""A ruling, or None: the rule has nothing to say."""


class ConflictRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conflict and its decision.

    Attributes:
        rule: the name of the rule that decided, ``lead`` when none did.
        analysis, proposal, decision: what the lead wrote, within the ruling.
        implementer, approver: roles; never the same.
        dissent: positions that lost, with their evidence.
        result: one line: what won.
        notes: what a reader should know, such as a side that did not answer.
    """

    id: str
    topic: str
    step_id: str = ""
    positions: tuple[Position, ...] = ()
    requirements: tuple[str, ...] = ()
    rule: str = ""
    winner: str = ""
    analysis: str = ""
    proposal: str = ""
    decision: str = ""
    implementer: str = ""
    approver: str = ""
    dissent: tuple[Position, ...] = ()
    result: str = ""
    decided_at: datetime | None = None
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return it as a text: what each side said, the way to the decision, and who does what."""
        return conflict_text(self)
