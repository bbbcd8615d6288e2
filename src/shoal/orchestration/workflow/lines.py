"""Words of others on one line: they can neither forge a line of a record nor command a terminal."""

from __future__ import annotations

__all__ = ["bounded_line", "line_count", "one_line"]

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]
_UNSEEN = {code: " " if chr(code).isspace() else None for code in _CONTROLS}
_MOST_CHARACTERS = 300


def one_line(text: str) -> str:
    """Return *text* on one line, spaces squeezed, without control characters and changes of direction (CVE-2021-42574)."""
    if "  " not in text and text.isprintable():
        return text.strip()
    return " ".join(text.translate(_UNSEEN).split())


def bounded_line(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return the first *most* characters of *text* on one line, with ``…`` for what is left out."""
    if len(text) <= most:
        return one_line(text)
    line = one_line(text[: 4 * most])
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1].rstrip() + "…"


def line_count(text: str) -> int:
    """Return how many lines a file of *text* has: a last one without a line end counts."""
    return text.count("\n") + (bool(text) and not text.endswith("\n"))
