"""Where in a TOML text a key stands: the parser of the standard library does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["Lines"]

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]")
_ENTRY = re.compile(rf"\s*({_KEY})\s*=")
_TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#|[\[\]{}]')


class Lines:
    """The lines of a TOML text that was parsed without a fault."""

    def __init__(self, text: str) -> None:
        self._places: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in _statements(text):
            if header := _HEADER.match(line):
                table = _words(header[1])
                self._note(table, number)
            elif entry := _ENTRY.match(line):
                self._note((*table, *_words(entry[1])), number)

    def _note(self, path: tuple[str, ...], number: int) -> None:
        for length in range(1, len(path) + 1):
            self._places.setdefault(path[:length], number)

    def of(self, path: Sequence[str]) -> int | None:
        """Return the line, from 1, of the key at *path*, else of the nearest thing around it; None: nothing is there."""
        for length in range(len(path), 0, -1):
            if (found := self._places.get(tuple(path[:length]))) is not None:
                return found
        return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines at which a header or a key can begin: those inside of no value that goes over several."""
    quote, depth = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not quote and not depth:
            yield number, line
            if _HEADER.match(line):
                continue
        quote, depth = _after(line, quote, depth)


def _after(line: str, quote: str, depth: int) -> tuple[str, int]:
    """Return the quotes, and the depth of brackets, that are open at the end of *line*."""
    place = 0
    while True:
        if quote:
            end = line.find(quote, place)
            if end < 0:
                return quote, depth
            quote, place = "", end + 3
        found = _TOKEN.search(line, place)
        if found is None or found[0] == "#":
            return "", depth
        place = found.end()
        if found[0] in ('"""', "'''"):
            quote = found[0]
        elif found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1


def _words(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))
