"""What counts as a line that can be executed, and what is made of what tests say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.boxrunner import is_source, is_test
from shoal.orchestration.workflow.codeguest.heard import Heard
from shoal.orchestration.workflow.codeguest.lines import Statements

WORD = "word"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", set()),
        ("# a comment\n\n", set()),
        ('"""Docstring\nof a module."""\nx = 1\n', {3}),
        ("x = [\n    1,\n    2,\n]\n", {1}),
        ("def f(\n    a,\n    b=1,\n):\n    '''Doc.'''\n    return (\n        a\n    )\n", {1, 6}),
        ("@one\n@two(\n    1,\n)\ndef f():\n    pass\n", {1, 2, 5, 6}),
        ("class A:\n    '''Doc.'''\n    x: int = 1\n    y: int\n", {1, 3, 4}),
        ("if a:\n    b\nelif c:\n    d\nelse:\n    e\n", {1, 2, 3, 4, 6}),
        ("try:\n    a\nexcept E:\n    b\nfinally:\n    c\n", {1, 2, 3, 4, 6}),
        ("a = 1; b = 2\n", {1}),
        ("f = lambda: (\n    1\n)\n", {1}),
        ("x = 1  # pragma: no cover\n", {1}),
        ("def f(:\n", set()),
        ("x = '\0'\n", set()),
        ("(" * 1000, set()),
    ],
)
def test_executable_lines(source: str, lines: set[int]) -> None:
    """As coverage.py 7 counts them, but for what asks to be left out."""
    assert Statements(source).lines == lines


def test_lines_within_a_statement_count_for_its_first() -> None:
    statements = Statements("x = [\n    1,\n    2,\n]\ny = 1\n")
    assert statements.executed([2, 3]) == {1} and statements.executed([5, 99]) == {5}


@pytest.mark.parametrize("path", ["test_a.py", "a_test.py", "x/test_.py"])
def test_files_of_tests(path: str) -> None:
    assert is_test(path) and not is_source(path)


@pytest.mark.parametrize("path", ["conftest.py", "tests/util.py", "a/tests/b/c.py", "a.txt", "tester"])
def test_files_that_are_neither(path: str) -> None:
    assert not is_test(path) and not is_source(path)


def heard(*facts: Any, word: str = WORD) -> Heard:
    told = Heard(WORD)
    told.take(b"".join(word.encode() + json.dumps(fact).encode() + b"\n" for fact in facts))
    return told


PASSED = ({"collected": 1}, {"outcome": "passed", "name": "test_a"}, {"ran": 1})
END = {"end": 0, "lines": {"a.py": [1, 2]}}


def test_tests_that_passed() -> None:
    told = heard(*PASSED, END)
    assert told.result(0, timed_out=False) == {"passed": 1, "failed": 0, "errors": 0, "skipped": 0, "failures": []}
    assert told.lines == {"a.py": [1, 2]}


@pytest.mark.parametrize(
    ("told", "exit_code", "timed_out", "why"),
    [
        (heard(*PASSED), 0, False, "the test process ended before its tests were over: with exit code 0"),
        (heard(*PASSED), None, False, "the test process ended before its tests were over: it was killed"),
        (heard(*PASSED, END), None, True, "the tests did not end in time"),
        (heard(*PASSED, END), 1, False, "the test process ended with exit code 1, its tests with 0"),
        (heard(*PASSED, {"collected": 2}, END), 0, False, "2 of 3 tests were not run"),
        (heard(*PASSED, {**END, "end": 3}), 3, False, "the tests ended with exit code 3"),
        (
            heard(*PASSED, END, word="other"),
            0,
            False,
            "the test process ended before its tests were over: with exit code 0",
        ),
        (heard(*PASSED, END, word=""), 0, False, "the test process ended before its tests were over: with exit code 0"),
        (heard(*PASSED, {"outcome": "splendid"}, END), 0, False, "what the test process reports cannot be read"),
        (heard(*PASSED, [], END), 0, False, "what the test process reports cannot be read"),
    ],
)
def test_troubles(told: Heard, exit_code: int | None, timed_out: bool, why: str) -> None:
    found = told.result(exit_code, timed_out=timed_out)
    assert found["errors"] == 1 and found["failures"] == [why]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_whatever_is_said_makes_no_success(pieces: list[bytes]) -> None:
    told = Heard(WORD)
    for piece in pieces:
        told.take(piece + b"\n")
    assert told.result(0, timed_out=False)["errors"] == 1


def test_endless_talk_is_not_kept() -> None:
    told = Heard(WORD)
    for _ in range(200):
        told.take(b"x" * (1 << 16))
    assert told.result(0, timed_out=False)["errors"] == 1 and len(told._rest) <= 8 << 20
