from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.boxes.data import check_raw
from shoal.boxes.guest.errors import MessageTooLargeError, PayloadError
from shoal.boxes.guest.payload import MAX_DEPTH, check_text, encode
from shoal.kernel.payload import checked

LIMIT = 10 << 20
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Pair(NamedTuple):
    left: int
    right: str


@given(plain)
def test_json_comes_back_equal_and_is_what_the_kernel_sends(value: Any) -> None:
    raw = encode(value, "data", LIMIT)
    assert json.loads(raw) == value == checked(json.loads(raw), "data")[0]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ((1, (2,)), [1, [2]]),
        (Number.ONE, 1),
        ({"w": Word.A}, {"w": "a"}),
        (Pair(1, "r"), [1, "r"]),
        (OrderedDict(a=1), {"a": 1}),
        ("é\n\x00\u2028", "é\n\x00\u2028"),
        (nested(MAX_DEPTH), nested(MAX_DEPTH)),
    ],
)
def test_what_counts_as_json(value: Any, seen: Any) -> None:
    raw = encode(value, "data", LIMIT)
    assert json.loads(raw) == seen
    check_raw(raw)  # type: ignore[arg-type]


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"x": [1, 2, {3}]}, "data['x'][2]: set is not JSON"),
        (b"x", "data: bytes is not JSON"),
        ([math.nan], "data[0]: nan is not a finite number"),
        (-math.inf, "data: -inf is not a finite number"),
        ({"a": 2**64}, "data['a']: an integer beyond 64 bits"),
        (-(2**63) - 1, "data: an integer beyond 64 bits"),
        ({"a": {1: 2}}, "data['a']: the key 1 is not text"),
        ("\ud800", "data: text with a lone surrogate is not JSON"),
        ({"\ud800": 1}, "data (a key): text with a lone surrogate is not JSON"),
        (object(), "data: object is not JSON"),
        (nested(MAX_DEPTH + 1), "nested deeper than 128 levels, or contains itself"),
        (LOOP, "nested deeper than 128 levels, or contains itself"),
    ],
)
def test_anything_else_is_refused_with_its_place(value: Any, text: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(value, "data", LIMIT)
    assert str(caught.value).endswith(text)
    assert len(str(caught.value)) < 300


def test_too_large_is_said_soon() -> None:
    began = time.perf_counter()
    with pytest.raises(MessageTooLargeError, match="data has 10485762 bytes, the limit is 10485760") as caught:
        encode("x" * LIMIT, "data", LIMIT)
    assert (caught.value.size, caught.value.limit) == (LIMIT + 2, LIMIT)
    assert time.perf_counter() - began < 1


def test_names_are_text() -> None:
    assert check_text("b", "target") == "b"
    with pytest.raises(TypeError, match="target is a str, not int"):
        check_text(3, "target")
    with pytest.raises(PayloadError, match="target: text with a lone surrogate"):
        check_text("\ud800", "target")
