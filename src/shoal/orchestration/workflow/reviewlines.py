"""Reading a review in lines: ``Security score: 85/100``, ``* Missing rate limiting (HIGH)``, ``Approved for merge``."""

from __future__ import annotations

import re
from typing import NamedTuple

from shoal.orchestration.workflow.blocks import blocks_of

__all__ = ["SAYS_NO", "IssueWords", "ReviewLines", "issue_in", "lines_of_review"]

SAYS_NO = re.compile(r"[\s*_#-]{0,40}(?:status:|verdict:|decision:)?[\s*_]{0,8}not (?:yet )?approved\b", re.IGNORECASE)

_TELLS = re.compile(
    r"score|approved|resolved|issues|recommendations|^\s{0,200}(?:[-*+•]|[0-9]{1,3}[.)])\s", re.IGNORECASE
)
_APPROVED = re.compile(r"approved(?: for (?:merge|release|deployment|production))?(?:: (?:yes|true))?", re.IGNORECASE)
_SCORE = re.compile(r"(?:[^\n:]{0,80}\s)?score:\s*(\S[^\n]{0,80}?)", re.IGNORECASE)
_NUMBER = re.compile(r"(-?[0-9.]{1,12}\s{0,3}(?:/\s{0,3}[0-9]{1,6}\b)?)")
_RESOLVED = re.compile(r"resolved:\s*(\S.*)", re.IGNORECASE)
_SECTION = re.compile(r"(?:[^\n:]{0,40}\s)?(issues|recommendations)(?: found)?:", re.IGNORECASE)
_ITEM = re.compile(r"(\s{0,200})(?:[-*+•]|[0-9]{1,3}[.)])\s+(\S.*)")
_ID = re.compile(r"\[([A-Za-z][\w.-]{0,39})\]\s*|(R[0-9]{1,6})(?::|\s[-–—:]\s)\s*")
_SEVERITY = re.compile(r"\(\s?([A-Za-z]{2,20})\s?\)[.;]?")
_SEPARATORS = re.compile(r"[\s,;]+")
_KNOWN = ("HIGH", "MEDIUM", "LOW", "CRITICAL", "BLOCKER", "SEVERE", "MAJOR", "MINOR", "INFO")
_NOTHING = ("none", "no issues", "no issues found", "n/a")
_MARKS = "*_`"
_MOST_TAIL = 40


class IssueWords(NamedTuple):
    """An issue as it was written."""

    id: str
    severity: str
    title: str


class ReviewLines:
    """What the lines of a review say, as they were written."""

    def __init__(self) -> None:
        self.scores: list[str] = []
        self.issues: list[str] = []
        self.resolved: list[str] = []
        self.recommendations: list[str] = []
        self.approved = False
        self.refused = False


def lines_of_review(text: str) -> ReviewLines:
    """Return what the lines of *text* say; those in fenced blocks and behind ``>`` are somebody else's."""
    said = ReviewLines()
    section, depth = "", -1
    for line in _open_lines(text):
        if not _TELLS.search(line):
            section = "" if line.strip() else section
            continue
        item = _ITEM.fullmatch(line)
        indent = len(line) - len(line.lstrip())
        words = (line if item is None else item[2]).strip()
        bare = words.strip(_MARKS).rstrip("!.").strip(_MARKS)
        heading = _SECTION.fullmatch(words.lstrip("# ").strip(_MARKS))
        if heading is not None:
            # items of a heading that is itself an item are further in
            section, depth = heading[1].lower(), indent if item is not None else -1
            continue
        if _read_line(line, bare, said):
            section = ""
        elif item is None or indent <= depth:
            section = ""
            _read_item(words if item is not None else "", "", said)
        else:
            _read_item(words, section, said)
    said.approved = said.approved and not said.refused
    return said


def issue_in(words: str) -> IssueWords:
    """Return the issue in ``[R1] Missing rate limiting (HIGH)``; id and severity may be missing."""
    words = words.strip()
    issue_id, severity = "", ""
    named = _ID.match(words)
    if named is not None and words[named.end() :].strip():
        issue_id, words = named[1] or named[2], words[named.end() :]
    at = words.rfind("(", -_MOST_TAIL)
    found = None if at < 0 else _SEVERITY.fullmatch(words[at:].strip().rstrip(_MARKS))
    if found is not None and words[:at].strip():
        severity, words = found[1].upper(), words[:at]
    return IssueWords(issue_id, severity, words.strip().strip(_MARKS).strip())


def _open_lines(text: str) -> list[str]:
    lines = text.split("\n")
    blocks = blocks_of(lines)
    found: list[str] = []
    at = 0
    for number in sorted(blocks):
        last = blocks[number].last
        if number >= at and last is not None:
            found += lines[at:number]
            at = last + 1
    return [line.rstrip() for line in [*found, *lines[at:]] if line and not line.lstrip().startswith(">")]


def _read_line(line: str, words: str, said: ReviewLines) -> bool:
    """Read a score, an approval or ids that are closed; return whether it was one of these."""
    if SAYS_NO.match(line):
        said.refused = True
        return True
    if _APPROVED.fullmatch(words):
        said.approved = True
        return True
    closed = _RESOLVED.fullmatch(words)
    if closed is not None:
        ids = (each.strip("[]().*`") for each in _SEPARATORS.split(closed[1]))
        said.resolved += [each for each in ids if each and each.casefold() not in ("and", "none")]
        return True
    score = _SCORE.fullmatch(words.replace("**", ""))
    if score is not None:
        number = _NUMBER.match(score[1])
        said.scores.append((number[1] if number is not None else score[1]).strip())
        return True
    return False


def _read_item(words: str, section: str, said: ReviewLines) -> None:
    """Read an item as what its section is of; outside of one it is an issue only if it ends with a severity."""
    if not words or words.rstrip(".").casefold() in _NOTHING:
        return
    if section == "recommendations":
        said.recommendations.append(words)
    elif section == "issues" or issue_in(words).severity in _KNOWN:
        said.issues.append(words)
