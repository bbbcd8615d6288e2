"""Reading what an agent hands in: a JSON object, files in fenced blocks, or plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from shoal.orchestration.answers import sound
from shoal.orchestration.workflow.blocks import Block, block_at, blocks_of
from shoal.orchestration.workflow.delivery import Delivery, Dispute, Objection, TestResult
from shoal.orchestration.workflow.jsontext import as_text, as_texts, as_whole, values_in
from shoal.orchestration.workflow.paths import check_files
from shoal.orchestration.workflow.reviews import review_of

__all__ = ["HandInError", "read_delivery"]

KEYS = frozenset(Delivery.__struct_fields__) - {"raw"}
_FILE = re.compile(r"\s{0,8}[#*-]{0,6}\s{0,4}\**FILE\**:\**\s{0,8}(\S.*)", re.IGNORECASE)
_ITEM = re.compile(r"\s{0,40}[-*]\s+(\S.*)")
_ALL_PASSING = re.compile(r"all(?: of)?(?: the)?(?: ([0-9]{1,9}))?(?: tests?)? (?:pass|passing|passed)", re.I)
_OF = re.compile(r"([0-9]{1,9})\s?(?:/|of|out of)\s?([0-9]{1,9})(?: tests?)? (?:pass|passing|passed)", re.I)
_COUNT = re.compile(r"([0-9]{1,9})(?: tests?)? (pass|passing|passed|fail|failing|failed|errors?|skipped)", re.I)
_NUMBER = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,15})?)\s*%?")
_COUNTS = {"p": "passed", "f": "failed", "e": "errors", "s": "skipped"}


class HandInError(ValueError):
    """What was handed in cannot be taken; the text says why, and names the path if it is about a file."""


class _Parts(NamedTuple):
    """A reply: its files, its words without them, and the lines of these that are in no fenced block."""

    files: dict[str, str]
    words: str
    open_lines: list[str]


def read_delivery(text: str) -> Delivery:
    """Return what is handed in by *text*.

    It is the last JSON object with a key of ``Delivery``. Files may also be written as a line ``FILE: path`` before a
    fenced block; a file that is there in both forms is taken from its block. Without JSON the text is the summary, and
    its ``- `` lines are the outputs. What it says of tests and coverage is a claim.

    Raises:
        HandInError: a file that cannot be taken, and why.
    """
    text = sound(text)
    parts = _parts(text)
    found = None
    for value in values_in(parts.words, "{"):
        if not KEYS.isdisjoint(value):
            found = value
    if found is None:
        items = (_ITEM.fullmatch(line.rstrip()) for line in parts.open_lines if "- " in line or "* " in line)
        outputs = tuple(item[1].strip() for item in items if item is not None)
        return Delivery(summary=parts.words.strip(), outputs=outputs, files=_checked(parts.files), raw=text)
    return _delivery(found, parts.files, text)


def _delivery(found: dict[str, Any], files: dict[str, str], text: str) -> Delivery:
    review = found.get("review")
    return Delivery(
        summary=as_text(found.get("summary")),
        outputs=as_texts(found.get("outputs")),
        files=_checked({**_files(found.get("files")), **files}),
        tests=_tests(found.get("tests")),
        coverage=_coverage(found.get("coverage")),
        resolved=as_texts(found.get("resolved")),
        disputed=tuple(filter(None, map(_dispute, _items(found.get("disputed"))))),
        objections=tuple(filter(None, map(_objection, _items(found.get("objections"))))),
        recommendations=as_texts(found.get("recommendations")),
        review=review_of(review).review if isinstance(review, dict) else None,
        raw=text,
    )


# -- files


def _parts(text: str) -> _Parts:
    lines = [f"{line}\n" for line in text.split("\n")]
    blocks = blocks_of(lines)
    named = {number: found[1] for number, line in enumerate(lines) if (found := _file_line(line)) is not None}
    files: dict[str, str] = {}
    words: list[str] = []
    open_lines: list[str] = []
    at = 0
    for number in sorted({*blocks, *named}):
        if number < at:
            continue  # within a block
        words += lines[at:number]
        open_lines += lines[at:number]
        at = number
        block = block_at(lines, blocks, number + 1) if number in named else None
        if block is not None:
            path = _path(named[number])
            fault = _block_fault(lines, blocks, block)
            if fault or block.last is None:
                raise HandInError(f"file {path!r:.200}: {fault}")
            files[path] = "".join(lines[block.first + 1 : block.last])
            at = block.last + 1
        elif number in blocks and (last := blocks[number].last) is not None:
            at = last + 1
            words += lines[number:at]
    return _Parts(files, "".join([*words, *lines[at:]]), [*open_lines, *lines[at:]])


def _block_fault(lines: list[str], blocks: Mapping[int, Block], block: Block) -> str:
    """Return why the text in a block may not be the whole file; empty: it is."""
    if block.last is None:
        return "its block has no end, so it may be cut off"
    fence = lines[block.first].strip()
    fence = fence[: len(fence) - len(fence.lstrip(fence[0]))]
    for number in range(block.first + 1, block.last):
        if number in blocks and lines[number].lstrip().startswith(fence):
            return f"a block begins in it with {fence}, as the file does: put the file between longer fences"
    return ""


def _file_line(line: str) -> re.Match[str] | None:
    return _FILE.fullmatch(line.rstrip()) if "file" in line.lower() else None


def _path(words: str) -> str:
    """Return the path in what stands behind ``FILE:``, without the marks of code or bold type."""
    return words.strip().strip("*`").strip().removeprefix("./")


def _files(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HandInError(f"files: {value!r:.80} is no object of texts by path")
    files: dict[str, str] = {}
    for path, content in value.items():
        if not isinstance(content, str):
            raise HandInError(f"file {path!r:.200}: its content must be a text, not {content!r:.80}")
        files[sound(path).removeprefix("./")] = sound(content)
    return files


def _checked(files: dict[str, str]) -> dict[str, str]:
    try:
        check_files(files)
    except ValueError as error:
        raise HandInError(str(error)) from None
    return files


# -- claims


def _tests(value: Any) -> TestResult | None:
    if isinstance(value, str):
        return _tests_said(value.strip()[:1000])
    if not isinstance(value, dict):
        return None
    counts = {name: as_whole(value[name]) for name in _COUNTS.values() if name in value}
    known = {name: count for name, count in counts.items() if count is not None}
    if not known or len(known) < len(counts):
        return None
    return msgspec.structs.replace(_claimed(known), failures=as_texts(value.get("failures")))


def _claimed(counts: dict[str, int]) -> TestResult:
    return TestResult(
        passed=counts.get("passed", 0),
        failed=counts.get("failed", 0),
        errors=counts.get("errors", 0),
        skipped=counts.get("skipped", 0),
        source="claimed",
    )


def _tests_said(words: str) -> TestResult | None:
    """Return what is claimed by words such as ``all passing``, ``14 passing`` or ``12 of 14 passed, 2 failed``."""
    words = words.rstrip(".!")
    everything = _ALL_PASSING.fullmatch(words)
    if everything is not None:
        return TestResult(passed=max(1, int(everything[1] or 1)), source="claimed")
    of = _OF.match(words)
    if of is not None and int(of[1]) <= int(of[2]):
        return TestResult(passed=int(of[1]), failed=int(of[2]) - int(of[1]), source="claimed")
    counts = {_COUNTS[found[2][0].lower()]: int(found[1]) for found in _COUNT.finditer(words)}
    return _claimed(counts) if counts else None


def _coverage(value: Any) -> float | None:
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip()[:40])
        value = None if found is None else float(found[1])
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
    return float(value) if ok and math.isfinite(value) else None


# -- what is not agreed with


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _dispute(value: Any) -> Dispute | None:
    if not isinstance(value, dict):
        issue = as_text(value)
        return Dispute(issue=issue) if issue else None
    issue = as_text(value.get("issue")) or as_text(value.get("id"))
    if not issue:
        return None
    return Dispute(
        issue=issue,
        statement=as_text(value.get("statement")),
        evidence=as_texts(value.get("evidence")),
        tags=as_texts(value.get("tags")),
    )


def _objection(value: Any) -> Objection | None:
    if not isinstance(value, dict):
        topic = as_text(value)
        return Objection(topic=topic, statement=topic) if topic else None
    statement = as_text(value.get("statement"))
    topic = as_text(value.get("topic")) or statement
    if not topic:
        return None
    return Objection(
        topic=topic,
        statement=statement,
        evidence=as_texts(value.get("evidence")),
        tags=as_texts(value.get("tags")),
        against=as_text(value.get("against")),
    )
