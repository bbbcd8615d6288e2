"""JSON in what agents say: values anywhere in a text, and texts for what should have been some."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from shoal.orchestration.answers import sound

__all__ = ["as_text", "as_texts", "as_whole", "values_in"]

MOST_FAILED = 10_000
MOST_NUMBER = 1_000_000_000
_FIRST_WINDOW = 512
_GROWTH = 8
_MARGIN = 16
_TOO_DEEP = 5_000
_OPENINGS = {"{": re.compile(r'\{(?=\s*+["}])'), "[": re.compile(r"\[(?=\s*+[\[{\]])")}
_DECODER = json.JSONDecoder(strict=False)  # a line end within a text is what models write there


def values_in(text: str, opening: Literal["{", "["]) -> Iterator[Any]:
    """Yield the JSON objects (``{``) or arrays of objects (``[``) in *text* that are in no other one, in order.

    The work is bounded by the length of the text: one of half-open brackets must not hold up the loop. Each try sees a
    part of the text first, and more of it only when it came to the end of that, because an error of ``json`` costs the
    length of what it was shown.
    """
    budget = 4 * len(text) + 1_000_000
    failed = start = 0
    while budget > 0 and failed < MOST_FAILED:
        found = _OPENINGS[opening].search(text, start)
        if found is None:
            return
        value, end, cost = _decoded(text, found.start())
        budget -= cost
        if end < 0:
            failed += 1
            start = found.end()
            continue
        start = end
        yield value


def _decoded(text: str, start: int) -> tuple[Any, int, int]:
    """Return the value at *start*, where it ends (-1: there is none), and how many characters were looked at."""
    window, cost = _FIRST_WINDOW, 0
    while True:
        part = text[start : start + window]
        cost += len(part)
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            cut = error.pos >= len(part) - _MARGIN or error.msg.startswith("Unterminated")
            if not cut or start + len(part) == len(text):
                return None, -1, cost
        except (ValueError, RecursionError):  # a number with thousands of digits; brackets in thousands of brackets
            return None, -1, cost + _TOO_DEEP
        else:
            return value, start + end, cost
        window *= _GROWTH


def as_text(value: Any) -> str:
    """Return a text for what should have been one: of anything else its JSON; empty for none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return sound(value.strip())
    if isinstance(value, list):
        return "\n".join(filter(None, map(as_text, value)))
    return sound(json.dumps(value, ensure_ascii=False))


def as_texts(value: Any) -> tuple[str, ...]:
    """Return the texts for what should have been a list of them."""
    return tuple(filter(None, map(as_text, value if isinstance(value, list) else [value])))


def as_whole(value: Any) -> int | None:
    """Return a number from 0, or a text of one; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_NUMBER:
        return None
    return int(value) if value == int(value) else None
