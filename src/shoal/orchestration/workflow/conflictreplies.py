"""Reading what agents say in a conflict: a position, and the resolution of the lead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from shoal.orchestration.answers import sound
from shoal.orchestration.workflow.conflict import Position, Ruling
from shoal.orchestration.workflow.jsontext import as_text, as_texts, values_in

__all__ = ["Resolution", "read_position", "read_resolution", "why_unusable", "winner_of"]

_POSITION = ("statement", "evidence")
_RESOLUTION = ("decision", "proposal", "analysis")
_ITEMS = ("- ", "* ", "• ")
_YES = ("true", "yes")
_NO_LETTER = re.compile(r"[\W_]+")


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What the lead has decided. ``keeps_constraint``: whether he says that his decision keeps to it."""

    analysis: str = ""
    proposal: str = ""
    decision: str = ""
    result: str = ""
    winner: str = ""
    keeps_constraint: bool = False


def read_position(agent: str, text: str) -> Position:
    """Return the position in what *agent* said: the last JSON object with a statement or evidence in it, else the text,
    whose ``- `` lines are the evidence. One without words has an empty statement.
    """
    found = _last_object(text, _POSITION)
    if found is not None:
        return Position(
            agent=agent,
            statement=as_text(found.get("statement")),
            evidence=as_texts(found.get("evidence")),
            tags=tuple(tag.casefold() for tag in as_texts(found.get("tags"))),
        )
    lines = [line for line in map(str.strip, sound(text).splitlines()) if line]
    evidence = [line[2:].strip() for line in lines if line[:2] in _ITEMS]
    statement = " ".join(line for line in lines if line[:2] not in _ITEMS)
    if not statement and evidence:
        statement, *evidence = evidence
    return Position(agent=agent, statement=statement, evidence=tuple(evidence))


def read_resolution(text: str) -> Resolution | None:
    """Return the resolution in what the lead said, the last JSON object that has a part of one; None: there is none."""
    found = _last_object(text, _RESOLUTION)
    if found is None:
        return None
    return Resolution(
        analysis=as_text(found.get("analysis")),
        proposal=as_text(found.get("proposal")),
        decision=as_text(found.get("decision")),
        result=as_text(found.get("result")),
        winner=as_text(found.get("winner")),
        keeps_constraint=as_text(found.get("keeps_constraint")).casefold() in _YES,
    )


def why_unusable(made: Resolution | None, ruling: Ruling | None, losing: Sequence[str], sides: Collection[str]) -> str:
    """Return why a resolution cannot be the decision; empty: it can.

    Whether it keeps to the ruling is told by what the lead says of it in fields, so that no choice of words can hide it:
    ``winner`` is the one of the ruling (it may be left out), and ``keeps_constraint`` is true where there is a constraint.
    A proposal or a decision that is the statement of a losing side, letter by letter, drops the constraint all the same.

    Args:
        made: what the lead said; None: nothing that could be read.
        ruling: what the rules said; None: the lead decides.
        losing: the statements of the sides that lost by the ruling.
        sides: who may win, when there is no ruling.
    """
    if made is None or not made.decision:
        return "it has no decision: the JSON object with a text as decision is missing"
    if ruling is None:
        if sides and _side(made.winner, sides) is None:
            return f"its winner {made.winner!r:.80} is not one of {', '.join(sides)}"
        return ""
    if made.winner and made.winner.casefold() != ruling.winner.casefold():
        return f"its winner is {made.winner!r:.80}, but the rule {ruling.rule} says {ruling.winner}"
    if ruling.constraint and not made.keeps_constraint:
        return "it does not say that it keeps the constraint"
    if {_letters(made.proposal), _letters(made.decision)} & {_letters(each) for each in losing}:
        return f"it is the position that has lost by the rule {ruling.rule}"
    return ""


def winner_of(made: Resolution, sides: Collection[str]) -> str:
    """Return who has won, as the lead says; empty: nobody who is a side."""
    return _side(made.winner, sides) or ""


def _side(name: str, sides: Collection[str]) -> str | None:
    return next((side for side in sides if side.casefold() == name.casefold()), None)


def _letters(text: str) -> str:
    """Return *text* without what does not change what it says: spaces, marks, upper case."""
    return _NO_LETTER.sub(" ", text).strip().casefold()


def _last_object(text: str, keys: Collection[str]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = None
    for value in values_in(text, "{"):
        if any(key in value for key in keys):
            found = value
    return found
