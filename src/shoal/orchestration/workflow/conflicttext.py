"""Conflicts in words: how one was resolved, and what is decided for whoever works on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal.kernel.fences import Quote
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.lines import one_line
from shoal.orchestration.workflow.review import Issue

if TYPE_CHECKING:  # a record gives its text, and a prompt is of what reports are made of
    from shoal.orchestration.workflow.conflict import ConflictRecord, Position
    from shoal.orchestration.workflow.desk import Texts

__all__ = ["conflict_text", "decisions_in_force", "is_decided"]

_ENDS = (".", "!", "?", ":", ";", "…")
_LIKE_OURS = re.compile(r"\W*(?:\[|\d+[.)]|Final Decision\b|Result\b)", re.IGNORECASE)
"""How our own lines begin: a decision in several lines must not make one up."""


def conflict_text(record: ConflictRecord) -> str:
    """Return a conflict and its resolution as a text: what each side said, the way to the decision, who does what.

    The lines of a decision stay lines; everything else of what agents wrote is put on one.
    """
    lines = [f'[{position.agent}]: "{one_line(position.statement)}"' for position in record.positions]
    check = "Check security requirements" if record.rule == "security_first" else "Check requirements"
    return "\n".join(
        [
            *(lines or [f"[{LEAD}]: {one_line(record.topic)}"]),
            "",
            f"[{LEAD}] Resolution:",
            f"1. {_analyze(record.positions)}",
            f"2. {check}",
            f"3. Propose solution: {one_line(record.proposal)}",
            "",
            f"Final Decision: {_ended(_lines(record.decision))} {_who(record)}",
            "",
            f"Result: {_ended(one_line(record.result))}",
        ]
    )


def decisions_in_force(records: Sequence[ConflictRecord]) -> Texts:
    """Return the part of a prompt that tells what was decided in conflicts; empty when nothing was."""
    if not records:
        return ()
    parts: list[str | Quote] = ["Decisions in force. Work within them; they are not up for dispute any more."]
    for record in records:
        parts.append(f"\n\n{record.id}: {_who(record)}\n")
        told = f"Topic: {record.topic}\nDecision: {record.decision}"
        winning = next((each.statement for each in record.positions if each.agent == record.winner), "")
        if winning and winning != record.decision:
            told += f"\nWhat it must keep to, as {record.winner} says: {winning}"
        parts.append(Quote(LEAD, told))
    return parts


def is_decided(subject: str | Issue, records: Sequence[ConflictRecord]) -> ConflictRecord | None:
    """Return the conflict that has decided a point; None: it is open.

    A point is decided when a conflict had it as its topic, or when it is the statement of a side that has lost; upper case,
    spaces and marks do not make another point of it. An issue is decided when a conflict has waived it, or had its title
    as topic, alone or after its id.

    Args:
        subject: a topic or a statement, or an issue.
        records: the conflicts that were resolved.
    """
    if isinstance(subject, Issue):
        waived = next((record for record in records if subject.conflict_id and record.id == subject.conflict_id), None)
        titles = {_point(subject.title), _point(f"{subject.id} {subject.title}")}
        return waived or next((record for record in records if _point(record.topic) in titles), None)
    point = _point(subject)
    if not point:
        return None
    return next(
        (r for r in records if point in {_point(each) for each in (r.topic, *(d.statement for d in r.dissent))}), None
    )


def _who(record: ConflictRecord) -> str:
    return f"{record.implementer} implements, {record.approver} approves."


def _analyze(positions: Sequence[Position]) -> str:
    count = len(positions)
    return {0: "Analyze the question", 1: "Analyze the argument", 2: "Analyze both arguments"}.get(
        count, f"Analyze all {count} arguments"
    )


def _lines(text: str) -> str:
    """Return the lines of *text* without blank ones; a line that looks like one of ours is put behind the one before."""
    found = ""
    for line in filter(None, map(one_line, text.splitlines())):
        found += (" " if _LIKE_OURS.match(line) else "\n") + line if found else line
    return found


def _ended(text: str) -> str:
    return text if text.endswith(_ENDS) else f"{text}."


def _point(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
