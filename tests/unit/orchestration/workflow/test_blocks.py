"""Fenced blocks, compared with a plain reading line by line; and what an agent says himself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.kernel.fences import Quote, compose
from shoal.orchestration.workflow.blocks import Block, block_at, blocks_of, own_words


def _plainly(lines: list[str], first: int) -> int | None:
    fence = lines[first].strip()
    kind, length = fence[0], len(fence) - len(fence.lstrip(fence[0]))
    for number in range(first + 1, len(lines)):
        closing = lines[number].strip()
        if set(closing) == {kind} and len(closing) >= length:
            return number
    return None


FENCES = st.sampled_from(["```", "````", "`````", "~~~", "~~~~", "```py", "~~~~ a", "words", ""])


@given(st.lists(FENCES, max_size=14))
def test_a_block_ends_where_a_plain_reading_ends_it(lines: list[str]) -> None:
    fences = [number for number, line in enumerate(lines) if line[:1] in ("`", "~")]
    expected = {number: Block(number, _plainly(lines, number)) for number in fences}
    assert blocks_of(lines) == expected
    assert blocks_of([f"  {line}\n" for line in lines]) == expected


def test_code_within_a_line_and_indented_lines_are_no_fences() -> None:
    assert blocks_of(["```x```", "    ```", "``", "~~ ~"]) == {}


def test_a_block_may_follow_after_a_few_blank_lines() -> None:
    lines = ["a", "", "", "", "```", "```"]
    blocks = blocks_of(lines)
    assert block_at(lines, blocks, 1) == Block(4, 5)
    assert block_at(lines, blocks, 0) is None
    assert block_at(["", "", "", "", *lines], blocks_of(["", "", "", "", *lines]), 0) is None
    assert block_at([], {}, 0) is None


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_what_stands_within_the_fences_of_agents_is_not_ones_own(texts: list[str]) -> None:
    parts: list[str | Quote] = ["before "]
    for text in texts:
        parts += [Quote("Researcher", f"quoted {text}"), " mine "]
    own = own_words(compose(parts).text)
    assert "quoted" not in own
    assert own.count("mine") == len(texts)
    assert own.startswith("before ")


def test_half_a_fence_hides_nothing() -> None:
    text = "<<agent x #0123456789abcdef>>\nScore: 1\n<</agent #fedcba9876543210>>"
    assert own_words(text) == text
