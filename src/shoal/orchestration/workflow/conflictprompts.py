"""What the sides of a conflict and the lead are asked. What others wrote stands in fences."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.kernel.fences import Quote
from shoal.orchestration.workflow.conflict import Conflict, Position, Ruling
from shoal.orchestration.workflow.desk import Texts

__all__ = ["position_prompt", "resolution_prompt"]

Parts = list[str | Quote]

_EVIDENCE = (
    "Evidence is what somebody else can check: a measurement, a test, a place in a file, a standard, a known attack. "
    "That others do so, or that it is clear, is none. Give none rather than make it up."
)
_POSITION_FORM = (
    "Answer with JSON only:\n"
    '{"statement": "your position in one sentence", "evidence": ["one text for each"], '
    '"tags": ["what it is about, such as security, performance, cost"]}'
)


def position_prompt(conflict: Conflict, role: str, known: Position | None, material: Texts) -> Parts:
    """Return what *role* is asked for its position. *known*: what it has said so far, where evidence is missing."""
    parts: Parts = [f"There is a conflict, and you are asked for the position of {role}.\n\n", *_head(conflict)]
    if conflict.owner:
        parts.append(f"It is about the work of {conflict.owner}.\n\n")
    if material:
        parts += [*material, "\n\n"]
    if known is not None and known.statement:
        parts += [
            "You have said:\n",
            Quote(role, known.statement),
            "\n\nKeep to it or correct it, and give evidence.\n\n",
        ]
    else:
        parts.append("What do you hold, and on what evidence?\n\n")
    return [*parts, f"{_EVIDENCE}\n\n{_POSITION_FORM}"]


def resolution_prompt(conflict: Conflict, ruling: Ruling | None, notes: Sequence[str]) -> Parts:
    """Return what the lead is asked when all positions are known."""
    parts: Parts = ["Resolve a conflict.\n\n", *_head(conflict), "The positions:"]
    for position in conflict.positions:
        parts += [f"\n\n{position.agent}:\n", Quote(position.agent, _argument(position))]
    if not conflict.positions:
        parts.append(" none was taken.")
    if notes:
        parts += ["\n\nTo be known:\n", Quote("notes", "\n".join(notes))]
    parts.append("\n\n")
    if ruling is None:
        sides = ", ".join(position.agent for position in conflict.positions)
        parts.append("No rule decides it: you do, by the evidence and the requirements.\n\n")
        return [*parts, _form(f'"winner": "whose position wins: one of {sides}"' if sides else "")]
    parts += [f"The rule {ruling.rule} has decided: the position of {ruling.winner} wins.\n"]
    parts += ["The reason:\n", Quote(ruling.rule, ruling.reason), "\n\n"]
    own = f'"winner": "{ruling.winner}"'
    if ruling.constraint:
        parts += ["The constraint, which no proposal may drop:\n", Quote("constraint", ruling.constraint), "\n\n"]
        own += ', "keeps_constraint": true or false'
    parts.append(
        "Work out how it is done, and keep of the other positions what can be kept. You cannot change the ruling.\n\n"
    )
    return [*parts, _form(own)]


def _head(conflict: Conflict) -> Parts:
    parts: Parts = ["Topic:\n", Quote("topic", conflict.topic), "\n\n"]
    if conflict.requirements:
        required = "\n".join(f"- {each}" for each in conflict.requirements)
        parts += ["Requirements:\n", Quote("requirements", required), "\n\n"]
    return parts


def _argument(position: Position) -> str:
    evidence = "".join(f"\n- {each}" for each in position.evidence)
    return f"{position.statement}\nEvidence:{evidence or ' none given'}"


def _form(own: str) -> str:
    return (
        "Answer with JSON only:\n"
        '{"analysis": "what the arguments come down to", "proposal": "the solution in a few words", '
        '"decision": "what is done, in one or two sentences", '
        f'"result": "in one line, what won and at what price"{", " + own if own else ""}}}'
    )
