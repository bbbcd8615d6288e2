"""Ballots: the last lines of a speech, in which its author says where it stands, with whom, and how sure it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from shoal.orchestration.results import Consensus, DebateMessage

__all__ = ["FORM", "Ballot", "largest_support", "read_ballot"]

FORM = (
    "End with these three lines:\n"
    "POSITION: your position in one sentence\n"
    "AGREES WITH: the names of those whose position you share, or none\n"
    "CONFIDENCE: a number from 0 to 100"
)
"""What a speaker is asked for."""

_LINE = re.compile(r"^[\s>*_#-]*(POSITION|AGREES WITH|CONFIDENCE)[\s*_]*:[\s*_]*(.*?)[\s*_]*$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_NOBODY = frozenset({"none", "nobody", "no one", "n/a", "-", ""})


class Ballot(msgspec.Struct, frozen=True, kw_only=True):
    """What a speech says without its ballot, and the ballot."""

    content: str
    position: str = ""
    agrees_with: tuple[str, ...] = ()
    confidence: int | None = None


def read_ballot(text: str, names: Mapping[str, str]) -> Ballot:
    """Return *text* without the ballot at its end, and the ballot.

    Args:
        text: what a speaker said.
        names: by the names that it was shown, the names of the others.
    """
    lines = text.rstrip().split("\n")
    found: dict[str, str] = {}
    end = len(lines)
    while end > 0:
        line = _LINE.match(lines[end - 1])
        if line is not None:
            found.setdefault(line[1].upper(), line[2])
        elif lines[end - 1].strip() or not found:
            break
        end -= 1
    if not found:
        return Ballot(content=text)
    return Ballot(
        content="\n".join(lines[:end]).rstrip(),
        position=found.get("POSITION", ""),
        agrees_with=_named(found.get("AGREES WITH", ""), names),
        confidence=_confidence(found.get("CONFIDENCE", "")),
    )


def _named(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return whom *text* names, in the order of *names*; words that are nobody's name say nothing."""
    if text.strip().casefold() in _NOBODY:
        return ()
    left = text
    found: set[str] = set()
    for shown in sorted(names, key=len, reverse=True):  # "Participant 10" before "Participant 1"
        pattern = re.compile(rf"(?<!\w){re.escape(shown)}(?!\w)", re.IGNORECASE)
        if pattern.search(left):
            found.add(shown)
            left = pattern.sub(" ", left)
    return tuple(name for shown, name in names.items() if shown in found)


def _confidence(text: str) -> int | None:
    number = _NUMBER.search(text)
    return None if number is None else min(100, int(number[0][:4]))


def largest_support(said: Sequence[DebateMessage], number: int) -> Consensus | None:
    """Return the position with the largest support: its author and all who name it. Among equals the first.

    Args:
        said: the speeches of one round; those without a position are no candidates, and who names nobody supports nobody.
        number: of all agents: the share is of them.
    """
    best: Consensus | None = None
    answers = [message for message in said if message.success]
    for candidate in answers:
        if not candidate.position:
            continue
        name = candidate.agent_name
        supporters = tuple(m.agent_name for m in answers if m.agent_name == name or name in m.agrees_with)
        if best is None or len(supporters) > len(best.supporters):
            best = Consensus(
                position=candidate.position, supporters=supporters, share=len(supporters) / number, method="ballot"
            )
    return best
