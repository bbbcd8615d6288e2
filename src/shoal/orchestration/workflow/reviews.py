"""Reading a review: a JSON object, or lines such as ``Security score: 85/100``."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.kernel.fences import shortened
from shoal.orchestration.answers import sound
from shoal.orchestration.workflow.blocks import own_words
from shoal.orchestration.workflow.jsontext import as_text, as_texts, as_whole, values_in
from shoal.orchestration.workflow.review import Facts, Issue, Review, Severity
from shoal.orchestration.workflow.reviewlines import SAYS_NO, ReviewLines, issue_in, lines_of_review

__all__ = ["ReadReview", "read_review", "review_of"]

KEYS = frozenset(Review.__struct_fields__)
SEVERITIES: dict[str, Severity] = {"HIGH": "HIGH", "MEDIUM": "MEDIUM", "LOW": "LOW"}
MOST_TITLE = 500


class ReadReview(msgspec.Struct, frozen=True, kw_only=True):
    """A review that was read: with it what was odd about it, and why it is of no use; empty: it is."""

    review: Review
    warnings: tuple[str, ...] = ()
    problem: str = ""


def read_review(text: str) -> ReadReview:
    """Return the review in *text*: the last JSON object with a key of ``Review`` or with ``review``, else its lines.

    Only what the reviewer says himself is read: what stands within the fences of an agent's text is not, nor are lines
    in fenced blocks or behind ``>``. Without a score from 0 to 100 there is a problem, and the review says 0 and no
    approval. In lines, only ``Resolved:`` with ids closes issues. ``Not approved`` in a line of its own takes back
    whatever else says that it is approved.
    """
    words = own_words(sound(text))
    found = None
    for value in values_in(words, "{"):
        if isinstance(value.get("review"), dict):
            found = value["review"]
        elif not KEYS.isdisjoint(value):
            found = value
    if found is None:
        return _of_lines(lines_of_review(words))
    read = review_of(found)
    if read.review.approved and any(SAYS_NO.match(line) for line in words.splitlines()):
        return msgspec.structs.replace(read, review=msgspec.structs.replace(read.review, approved=False))
    return read


def review_of(found: dict[str, Any]) -> ReadReview:
    """Return the review in a JSON object with the keys of ``Review``; others are ignored."""
    warnings: list[str] = []
    score, problem = _score(found.get("score"))
    issues = found.get("issues")
    resolved = found.get("resolved")
    review = Review(
        score=score,
        issues=tuple(filter(None, (_issue(each, warnings) for each in _items(issues)))),
        resolved=tuple(dict.fromkeys(_ids(resolved))),
        recommendations=as_texts(found.get("recommendations")),
        approved=found.get("approved") is True and not problem,
        facts=_facts(found.get("facts"), warnings),
    )
    return ReadReview(review=review, warnings=tuple(warnings), problem=problem)


def _of_lines(lines: ReviewLines) -> ReadReview:
    warnings: list[str] = []
    scores = [_score(each) for each in lines.scores] or [_score(None)]
    problem = next((problem for _, problem in scores if problem), "")
    score = 0 if problem else min(score for score, _ in scores)
    if len(scores) > 1 and not problem:
        warnings.append(f"there are {len(scores)} scores in the review: the lowest counts, {score}")
    review = Review(
        score=score,
        issues=tuple(filter(None, (_issue(each, warnings) for each in lines.issues))),
        resolved=tuple(dict.fromkeys(lines.resolved)),
        recommendations=tuple(lines.recommendations),
        approved=lines.approved and not problem,
    )
    return ReadReview(review=review, warnings=tuple(warnings), problem=problem)


def _score(value: Any) -> tuple[int, str]:
    """Return a score, and why there is none (then it is 0)."""
    if value is None:
        return 0, "score: missing"
    number = value
    if isinstance(value, str):
        number = value.strip()
        number, slash, most = number.partition("/")
        number = number.strip() if not slash or most.strip() == "100" else ""
    score = as_whole(number)
    if score is None or score > 100:
        return 0, f"score: {value!r:.80} is not a whole number from 0 to 100"
    return score, ""


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _ids(value: Any) -> list[str]:
    """Return ids: of a list, or of a text with commas between them."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return [] if value is None else [" ".join(each.split()) for each in as_texts(value)]


def _issue(value: Any, warnings: list[str]) -> Issue | None:
    """Return the issue in a text or an object; None: there is nothing in it."""
    if not isinstance(value, dict):
        found = issue_in(as_text(value))
        if not found.title:
            return None
        return Issue(id=found.id, severity=_severity(found.severity, found.title, warnings), title=_title(found.title))
    title = as_text(value.get("title")) or as_text(value.get("description")) or as_text(value.get("id"))
    if not title:
        return None
    line = as_whole(value.get("line"))
    return Issue(
        id=" ".join(as_text(value.get("id")).split()),
        severity=_severity(as_text(value.get("severity")), title, warnings),
        title=_title(title),
        file=" ".join(as_text(value.get("file")).split()).removeprefix("./"),
        line=line or None,
    )


def _severity(word: str, title: str, warnings: list[str]) -> Severity:
    known = SEVERITIES.get(word.strip().upper())
    if known is not None:
        return known
    if word:
        warnings.append(f"severity {word!r:.40} of {title!r:.80} is not HIGH, MEDIUM or LOW: it is taken as HIGH")
    return "HIGH"


def _title(title: str) -> str:
    return shortened(" ".join(title.split()), MOST_TITLE)


def _facts(value: Any, warnings: list[str]) -> Facts | None:
    if value is None:
        return None
    checked, correct = (
        as_whole(value.get(name)) if isinstance(value, dict) else None for name in ("checked", "correct")
    )
    if checked is None or correct is None or correct > checked:
        warnings.append(f"facts: {value!r:.80} does not say how many were checked, and how many of them were correct")
        return None
    return Facts(checked=checked, correct=correct)
