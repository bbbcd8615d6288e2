"""Blocks between fences (CommonMark 0.31, section 4.5) in what agents say, found in one pass."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Block", "block_at", "blocks_of", "own_words"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)\n?")
_AGENT = re.compile(r"<<agent [^\n<>#]{0,400} #([0-9a-f]{16})>>")
_AGENT_END = re.compile(r"<</agent #([0-9a-f]{16})>>")
MOST_BLANK = 3


class Block(NamedTuple):
    """The number of the line of a block's first fence, and of its last one; None: it has no end."""

    first: int
    last: int | None


def blocks_of(lines: Sequence[str]) -> dict[int, Block]:
    """Return the block that begins at each line with a fence, by the line's number, if it is in no other block.

    A block ends at the next fence of its own kind that is as long and has nothing behind it.
    """
    found: dict[int, Block] = {}
    # ends below the present line, the nearest last; one with a longer one before it ends nothing and is left out
    ends: dict[str, tuple[list[int], list[int]]] = {"`": ([], []), "~": ([], [])}
    for number in reversed([number for number, line in enumerate(lines) if "```" in line or "~~~" in line]):
        fence = _FENCE.fullmatch(lines[number])
        if fence is None:
            continue
        kind, length, behind = fence[1][0], len(fence[1]), fence[2].strip()
        if kind == "`" and "`" in behind:
            continue  # code within a line
        lengths, numbers = ends[kind]
        at = bisect_left(lengths, 1 - length)
        found[number] = Block(number, numbers[at - 1] if at else None)
        if not behind:
            while lengths and -lengths[-1] <= length:
                lengths.pop()
                numbers.pop()
            lengths.append(-length)
            numbers.append(number)
    return found


def block_at(lines: Sequence[str], blocks: Mapping[int, Block], number: int) -> Block | None:
    """Return the block that begins at line *number*, or after a few blank lines there."""
    for each in range(number, min(number + MOST_BLANK + 1, len(lines))):
        if each in blocks:
            return blocks[each]
        if lines[each].strip():
            return None
    return None


def own_words(text: str) -> str:
    """Return *text* without what stands within the fences of an agent's text (``kernel.fences``), which is not its own."""
    if "<<agent " not in text:
        return text
    ends: dict[str, list[int]] = {}
    for closing in _AGENT_END.finditer(text):
        ends.setdefault(closing[1], []).append(closing.end())
    kept: list[str] = []
    done = 0
    for opening in _AGENT.finditer(text):
        if opening.start() < done:
            continue
        later = ends.get(opening[1], [])
        at = bisect_left(later, opening.end())
        if at < len(later):
            kept.append(text[done : opening.start()])
            done = later[at]
    return "\n".join([*kept, text[done:]])
