"""Words of others in Markdown: they stay words, and make no heading, table, link or markup of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shoal.orchestration.workflow.lines import bounded_line, one_line

__all__ = ["bullets", "fenced", "quoted", "table", "words"]

_MARKUP = re.compile(r"(?=[\\`*\[\]|~$_<&])(?=[^_<&]|<[A-Za-z/!?]|&#?\w{1,32};|(?<![^\W_])_|_(?![^\W_]))")
_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+=#>]))(.)")
_STARTS = "-+=#>0123456789"
_TICKS = re.compile(r"`{3,}")
_CONTROLS = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F),
                           *range(0x2066, 0x206A)]) | {0x09: "    ", 0x2028: "\n", 0x2029: "\n"}  # fmt: skip
_MOST_IN_CELL = 300


def words(text: str) -> str:
    """Return *text* on one line, its markup escaped as CommonMark 0.31 (section 2.4) does it."""
    return _escaped(one_line(text))


def quoted(text: str) -> str:
    """Return *text*, its lines kept, as a block quote without markup of its own."""
    lines = [words(line) for line in text.strip().splitlines()]
    return "  \n".join(f"> {line}" if line else ">" for line in lines)


def fenced(text: str, language: str = "text") -> str:
    """Return *text* as a code block whose fence is longer than any in it."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in _TICKS.findall(text))])
    return f"{fence}{language}\n{text.translate(_CONTROLS).rstrip()}\n{fence}"


def bullets(lines: Iterable[str]) -> str:
    """Return a list of *lines*, each without markup of its own."""
    return "\n".join(f"- {words(line)}" for line in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the words of its cells are escaped, and cut at 300 characters."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join([_escaped(bounded_line(cell, _MOST_IN_CELL)) for cell in row])} |" for row in rows]
    return "\n".join(lines)


def _escaped(line: str) -> str:
    if not line or line.isalnum():  # most cells of large tables
        return line
    line = _MARKUP.sub(r"\\", line)
    return _START.sub(r"\1\\\2", line, count=1) if line[0] in _STARTS else line
