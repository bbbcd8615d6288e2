"""The rules of conflicts: security before everything, then what is required. Anything else is for the lead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

import msgspec

from shoal.orchestration.workflow.conflict import Conflict, Position, Ruling

__all__ = ["SECURITY", "concerns_security", "goes_against", "requirements_first", "security_first", "tagged"]

SECURITY = "security"
"""The tag of a position that concerns security."""

_SECURITY = re.compile(
    r"(?<![^\W_])(?:secur|vulnerab|attack|authenti|authoriz|encrypt|inject|timing|leak|secret)", re.IGNORECASE
)
_GIVEN_UP = re.compile(
    r"(?<![^\W_])(?:drop|skip|omit|remov|disabl|forgo|weaken|relax|bypass)[^\W_]*"
    r"(?:\s+[^\W_]+){0,3}?\s+(?:secur|authenti|authoriz|encrypt)",
    re.IGNORECASE,
)
"""Who would drop encryption speaks of it, and does not defend it."""

_CLAUSE = re.compile(r"[.,:;!?](?:\s|$)|\n")
_WORD = re.compile(r"[^\W_]+(?:'t\b)?")
_REFUSAL = re.compile(
    r"no|not|never|without|cannot|[a-z]+'t|(?:drop|skip|omit|avoid|forgo|ignor|remov|disabl)(?:p|t)?(?:e|s|es|ed|ing)?"
)
_NEEDLESS = re.compile(r"unnecessary|needless|superfluous|pointless|overkill")
_NEEDED = re.compile(r"need(?:ed)?|necessary|required|worth")
_SMALL_WORD = re.compile(
    r"an?|and|any|are|as|at|be|by|do|does|for|from|has|have|in|into|is|its?|must|of|on|or|shall|should|such|than|that|the"
    r"|their|this|to|us|use|using|want|we|will|with"
)
_NEAR = 3
"""As many words before or after what is required, small ones left out, speak of it."""

_STEM = 5
"""As many letters of a word tell it: "limits" and "limiting" are one."""

_MOST = 20_000
"""As many characters of a text are read: a position is a sentence, not a book."""


def security_first(conflict: Conflict) -> Ruling | None:
    """Let the position win that concerns security, as a constraint of whatever is decided.

    A position concerns security if a tag of it says so; of one without tags, if its statement or its evidence has a word
    that begins with secur, vulnerab, attack, authenti, authoriz, encrypt, inject, timing, leak or secret, other than to
    give it up ("drop encryption").

    Returns:
        None if no position concerns security, or the statements of more than one do: it does not tell who is right.
    """
    concerned = [position for position in conflict.positions if concerns_security(position)]
    if len(concerned) > 1:  # evidence against it may speak of it, too
        concerned = [
            position for position in concerned if concerns_security(msgspec.structs.replace(position, evidence=()))
        ]
    if len(concerned) != 1:
        return None
    winner = concerned[0]
    required = next((each for each in conflict.requirements if _SECURITY.search(each[:_MOST])), None)
    reason = f"The position of {winner.agent} concerns security"
    return Ruling(
        rule="security_first",
        winner=winner.agent,
        reason=f"{reason}, and so does a requirement: {required}" if required else reason,
        constraint=winner.statement,
    )


def requirements_first(conflict: Conflict) -> Ruling | None:
    """Let a position lose that is against a stated requirement (``goes_against``).

    Returns:
        None if no position is, or not exactly one is left.
    """
    broken = {position.agent: _broken(position, conflict.requirements) for position in conflict.positions}
    left = [position.agent for position in conflict.positions if not broken[position.agent]]
    losers = [agent for agent, requirement in broken.items() if requirement]
    if len(left) != 1 or not losers:
        return None
    requirement = broken[losers[0]]
    return Ruling(
        rule="requirements_first",
        winner=left[0],
        reason=f"The position of {' and of '.join(losers)} is against a requirement: {requirement}",
        constraint=requirement,
    )


def concerns_security(position: Position) -> bool:
    """Tell whether a position concerns security: by its tags, of one without tags by its words (``security_first``)."""
    if position.tags:
        return any(_SECURITY.match(tag.strip()) for tag in position.tags)
    return any(_SECURITY.search(_GIVEN_UP.sub(" ", text[:_MOST])) for text in (position.statement, *position.evidence))


def goes_against(statement: str, requirement: str) -> bool:
    """Tell whether a statement refuses a requirement.

    It does when one clause of it has all the words of the requirement that mean something (by their first five letters),
    and close before them an odd number of words such as no, not, never, without, drop, skip, remove, or close after them
    one such as unnecessary, or "not needed". So "no rate limiting" is against "Rate limiting", and "never drop rate
    limiting" is not. What says it in other words, and what is against a requirement that itself forbids something, is for
    the lead to see: a rule that errs is worse than one that passes.
    """
    required = _words(requirement)
    wanted = {word[:_STEM] for word in required}
    if not wanted or any(map(_REFUSAL.fullmatch, required)):
        return False
    return any(_refuses(_words(clause), wanted) for clause in _CLAUSE.split(statement[:_MOST]))


def _refuses(words: Sequence[str], wanted: Collection[str]) -> bool:
    at = [place for place, word in enumerate(words) if word[:_STEM] in wanted]
    if {words[place][:_STEM] for place in at} != wanted:
        return False
    before, after = words[max(0, at[0] - _NEAR) : at[0]], words[at[-1] + 1 : at[-1] + 1 + _NEAR]
    refusals = sum(map(bool, map(_REFUSAL.fullmatch, before)))
    needless = any(map(_NEEDLESS.fullmatch, after))
    not_needed = any(_REFUSAL.fullmatch(one) and _NEEDED.fullmatch(two) for one, two in pairwise(after))
    return refusals % 2 == 1 or (not refusals and (needless or not_needed))


def tagged(position: Position) -> Position:
    """Return the position with the tag that its words give it, if it came without any."""
    if not position.tags and concerns_security(position):
        return msgspec.structs.replace(position, tags=(SECURITY,))
    return position


def _broken(position: Position, requirements: Sequence[str]) -> str:
    """Return the first requirement that a position is against; empty: none."""
    return next((each for each in requirements if goes_against(position.statement, each)), "")


def _words(text: str) -> list[str]:
    """Return the words of *text* but small ones, in lower case."""
    found = _WORD.findall(text[:_MOST].casefold().replace("\u2019", "'"))
    return [word for word in found if not _SMALL_WORD.fullmatch(word)]
