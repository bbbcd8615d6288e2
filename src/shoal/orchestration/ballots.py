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

_LINE = re.compile(r"[\s>*_#`-]*(POSITION|AGREES WITH|CONFIDENCE)[\s*_`]*:", re.IGNORECASE)
_MARKUP = " \t\r*_`"
_NO_WORDS = re.compile(r"[\s*_`~-]*")
_NUMBER = re.compile(r"-?\d{1,6}(\.\d{1,6})?")
_BETWEEN = re.compile(r"[\s,;/&+*_`\"'()\[\].@]|and\b", re.IGNORECASE)
_NAME_ENDS = re.compile(r"[*_`\"')\].]*\s*(?:$|[,;/&+]|and\b)", re.IGNORECASE)
_NEXT_ITEM = re.compile(r"[,;/&+]|\band\b|$", re.IGNORECASE)


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
    end = after = len(lines)
    while end > 0:
        line = _LINE.match(lines[end - 1])
        if line is None:
            if not _NO_WORDS.fullmatch(lines[end - 1]):
                break
        elif (word := line[1].upper()) in found:
            break  # an older ballot, or a quoted one
        else:
            found[word] = lines[end - 1][line.end() :].strip(_MARKUP)
            after = end - 1
        end -= 1
    if not found:
        return Ballot(content=text)
    return Ballot(
        content="\n".join(lines[:after]).rstrip(),
        position=found.get("POSITION", ""),
        agrees_with=_named(found.get("AGREES WITH", ""), names),
        confidence=_confidence(found.get("CONFIDENCE", "")),
    )


def _named(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return whom *text* lists, in the order of *names*. What says more than a name ("not Ann") lists nobody."""
    longest_first = "|".join(re.escape(shown) for shown in sorted(names, key=len, reverse=True))
    if not longest_first:
        return ()
    name = re.compile(rf"(?:{longest_first})(?!\w)", re.IGNORECASE)
    by_fold = {shown.casefold(): shown for shown in names}
    listed: set[str] = set()
    place = 0
    while place < len(text):
        found = name.match(text, place)
        if found is not None and _NAME_ENDS.match(text, found.end()):
            listed.add(by_fold.get(found[0].casefold(), found[0]))
            place = found.end()
        elif (between := _BETWEEN.match(text, place)) is not None:
            place = between.end()
        else:
            item = _NEXT_ITEM.search(text, place)
            place = len(text) if item is None else max(item.end(), place + 1)
    return tuple(name for shown, name in names.items() if shown in listed)


def _confidence(text: str) -> int | None:
    number = _NUMBER.search(text)
    return None if number is None else max(0, min(100, round(float(number[0]))))


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
