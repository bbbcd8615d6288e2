"""What a docstring says of a function and of its parameters, in the three usual styles."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

__all__ = ["Docs", "read_docs"]

_HEADINGS = {
    *("args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"),
    *("returns", "return", "raises", "yields", "yield", "example", "examples", "note", "notes", "see also", "warnings"),
    *("references", "todo"),
}
_PARAMETERS = {
    *("args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"),
}
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")


class Docs(NamedTuple):
    """A description, and those of the parameters, by name."""

    text: str
    parameters: dict[str, str]


def read_docs(docstring: str | None) -> Docs:
    """Return what a docstring says: everything before its first section is the description.

    Sections are read in the styles of Google (``Args:``), NumPy (``Parameters`` underlined) and Sphinx (``:param x:``).
    """
    if not docstring:
        return Docs("", {})
    lines = inspect.cleandoc(docstring).splitlines()
    text: list[str] = []
    found: dict[str, str] = {}
    place, section = 0, ""
    while place < len(lines):
        line = lines[place]
        heading, skip = _heading(lines, place)
        if heading:
            section, place = heading, place + skip
            body, place = _body(lines, place)
            if section in _PARAMETERS:
                found |= _entries(body, numpy=skip == 2)
            continue
        if line.startswith(":"):
            section = "sphinx"
            if match := _SPHINX.match(line):
                body, place = _continuation(lines, place + 1)
                found[match[1]] = _joined([match[2], *body])
                continue
        elif not section:
            text.append(line)
        place += 1
    return Docs("\n".join(text).strip(), {name: words for name, words in found.items() if words})


def _heading(lines: list[str], place: int) -> tuple[str, int]:
    """Return the heading that begins here, in small letters, and how many lines it takes."""
    word = lines[place].strip().lower()
    if word.endswith(":") and word[:-1] in _HEADINGS:
        return word[:-1], 1
    below = lines[place + 1].strip() if place + 1 < len(lines) else ""
    if word in _HEADINGS and len(below) >= 3 and set(below) == {"-"}:
        return word, 2
    return "", 0


def _body(lines: list[str], place: int) -> tuple[list[str], int]:
    body: list[str] = []
    while place < len(lines) and not _heading(lines, place)[0] and not lines[place].startswith(":"):
        body.append(lines[place])
        place += 1
    return body, place


def _continuation(lines: list[str], place: int) -> tuple[list[str], int]:
    body: list[str] = []
    while place < len(lines) and lines[place][:1].isspace():
        body.append(lines[place])
        place += 1
    return body, place


def _entries(body: list[str], *, numpy: bool) -> dict[str, str]:
    body = inspect.cleandoc("\n".join(body)).splitlines()
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in body:
        match = None if line[:1].isspace() else (_NUMPY if numpy else _GOOGLE).match(line)
        if match is not None:
            names = [name.strip() for name in match[1].split(",")]
            found |= {name: [] if numpy else [match[2]] for name in names}
        elif line[:1].isspace():
            for name in names:
                found[name].append(line)
        elif line.strip():
            names = []
    return {name: _joined(words) for name, words in found.items()}


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())
