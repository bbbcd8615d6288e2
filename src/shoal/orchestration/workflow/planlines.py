"""Reading a plan in lines such as ``1. Analyze requirements → Need Researcher``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from shoal.orchestration.workflow.brief import LEAD, WorkStep

__all__ = ["in_one", "owner_named", "steps_of_lines", "task_type_of"]

SELF = ("self", LEAD.casefold())
"""What the lead may be called."""

MOST_STEPS = 10_000
MOST_FAULTS = 10

_LINE = re.compile(r"\s{0,12}(?:[-*]\s{1,4})?\**\s?([0-9]{1,4})[.)]\**\s{1,8}(\S.*)")
_NEED = re.compile(r"^[*`]{0,3}need\s{1,8}", re.IGNORECASE)
_ARROWS = ("→", "->")
_MARKS = ("**", "*", "`")
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)$")
_TYPES = (
    ("review", r"\breview"),
    ("testing", r"\btest(s|ing|ed)?\b"),
    ("research", r"\b(research|analy[sz]|investigat)"),
    ("implementation", r"\b(implement|build|cod(e|ing)\b|writ(e|ing)\b|develop)"),
    ("design", r"\bdesign"),
    ("check", r"\bcheck"),
)
_WORDS = tuple((kind, re.compile(words, re.IGNORECASE)) for kind, words in _TYPES)


def steps_of_lines(text: str) -> tuple[WorkStep, ...]:
    """Return the steps in the lines of *text*, each of which depends on the one before. Owners are as written.

    Raises ValueError when there is no such line, or one that goes on in the row has no owner.
    """
    steps: list[WorkStep] = []
    for number, title, owner in _lines(text):
        if len(steps) == MOST_STEPS:
            raise ValueError(f"there are more than {MOST_STEPS} steps")
        if not owner:
            raise ValueError(f"step {number} names no owner: {number}. {title:.80}")
        before = (steps[-1].id,) if steps else ()
        step_id = str(len(steps) + 1)
        steps.append(WorkStep(id=step_id, title=title, owner=owner, task_type=task_type_of(title), depends_on=before))
    if not steps:
        raise ValueError("there is no step: a line for each is needed, such as '1. Analyze requirements → Need NAME'")
    return tuple(steps)


def in_one(faults: Sequence[str]) -> str:
    """Return the first of *faults*, and how many more there are."""
    more = len(faults) - MOST_FAULTS
    return "; ".join(faults[:MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def task_type_of(title: str) -> str:
    """Return the type of a step that names none, by the words of its title."""
    return next((kind for kind, words in _WORDS if words.search(title)), "work")


def owner_named(words: str, roles: Collection[str] = ()) -> str:
    """Return the role of *roles* that *words* name, whatever their case; the lead for ``self``; else the words."""
    name = " ".join(words.replace("*", "").replace("`", "").split())
    known = {role.casefold(): role for role in roles}
    if words in roles:
        return words
    short = _IN_BRACKETS.sub("", name)
    for each in (name, short):
        if each.casefold() in known:
            return known[each.casefold()]
        if each.casefold() in SELF:
            return LEAD
    return name


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, title and owner of each step; the owner is empty in a line that should have one and has none."""
    last = -2  # before the first one no numbered line is missed
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        number, rest = int(found[1]), found[2]
        at, arrow = max((rest.rfind(each), each) for each in _ARROWS)
        if at < 0 and number != last + 1:
            continue  # a numbered line of something else
        if at < 0:
            yield number, _bare(rest), ""
            return
        title, owner = _bare(rest[:at]), _NEED.sub("", rest[at + len(arrow) :].strip())
        if title:
            last = number
            yield number, title, owner_named(owner)


def _bare(words: str) -> str:
    """Return *words* on one line, without the marks of bold type or code around all of them."""
    words = " ".join(words.split())
    for mark in _MARKS:
        if words.startswith(mark) and words.find(mark, len(mark)) in (-1, len(words) - len(mark)):
            words = words.removeprefix(mark).removesuffix(mark).strip()
    return words
