"""What is expected of a hand-in, and the reasons why one is not accepted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.checking import check_output
from shoal.orchestration.workflow.delivery import Delivery, TestResult
from shoal.orchestration.workflow.expected import ExpectedOutput

AUTH = ExpectedOutput(files=("auth.py", "test_auth.py"), tests="all passing", coverage=">80%")
FILES = {"auth.py": "x", "tests/test_auth.py": "y"}


def _reasons(expected: ExpectedOutput, **fields: Any) -> tuple[str, ...]:
    return check_output(expected, Delivery(**fields))


@pytest.mark.spec("W6")
def test_a_missing_file_failing_tests_and_low_coverage_are_refused_with_the_reason() -> None:
    good = TestResult(passed=14)
    failing = TestResult(passed=12, failed=2, failures=("test_login", "test_expiry"))
    assert _reasons(AUTH, files=FILES, tests=good, coverage=80.1) == ()
    assert _reasons(AUTH, files={"auth.py": "x"}, tests=good, coverage=90) == ("missing file test_auth.py",)
    assert _reasons(AUTH, files=FILES, tests=failing, coverage=90.0) == (
        "tests: 2 of 14 failed: test_login, test_expiry",
    )
    assert _reasons(AUTH, files=FILES, tests=good, coverage=79) == ("coverage 79 %, expected >80%",)
    assert _reasons(AUTH, files=FILES, tests=good, coverage=80.0) == ("coverage 80 %, expected >80%",)
    assert len(_reasons(AUTH, tests=failing, coverage=1.5)) == 4


def test_a_name_matches_in_any_folder_and_a_path_only_itself() -> None:
    expected = ExpectedOutput(files=("a.py", "src/b.py"))
    assert _reasons(expected, files={"x/y/a.py": "", "src/b.py": ""}) == ()
    assert _reasons(expected, files={"xa.py": "", "b.py": "", "src": ""}) == (
        "missing file a.py",
        "missing file src/b.py",
    )


@pytest.mark.parametrize(
    ("tests", "expected", "reason"),
    [
        (None, "all passing", "tests: no result, expected all passing"),
        (TestResult(), "all passing", "tests: none passed, expected all passing"),
        (TestResult(skipped=3), "All passing", "tests: none passed, expected All passing"),
        (TestResult(passed=3, errors=1), "all passing", "tests: 1 of 4 with an error"),
        (
            TestResult(passed=1, failed=1, errors=2, failures=("a",)),
            "all passing",
            "tests: 1 of 4 failed, 2 of 4 with an error: a",
        ),
        (TestResult(passed=13), "14 passing", "tests: 13 passing, expected 14 passing"),
        (TestResult(passed=14, failed=1), "14 passing", ""),
        (TestResult(passed=15), "14 passing", ""),
        (TestResult(passed=1, skipped=2), "all passing", ""),
        (None, "", ""),
    ],
)
def test_how_tests_must_end(tests: TestResult | None, expected: str, reason: str) -> None:
    assert _reasons(ExpectedOutput(tests=expected), tests=tests) == ((reason,) if reason else ())


def test_many_failures_are_counted_not_listed() -> None:
    tests = TestResult(failed=25, failures=tuple(f"t{n}" for n in range(25)))
    (reason,) = _reasons(ExpectedOutput(tests="all passing"), tests=tests)
    assert reason.endswith("t18, t19 and 5 more")


@pytest.mark.parametrize(
    ("bound", "coverage", "accepted"),
    [
        (">80%", 80, False), (">80%", 80.1, True), (">=80", 80, True), ("80%", 80, True), ("80 %", 79.99, False),
        ("<5", 5, False), ("< 5%", 4.9, True), ("<=5", 5, True), ("=70", 70.0, True), ("=70", 70.1, False),
        (">0.3", 0.1 + 0.2, True), ("", None, True), (">=0", None, False),
    ],
)  # fmt: skip
def test_coverage_is_compared_as_a_decimal(bound: str, coverage: float | None, accepted: bool) -> None:
    assert (not _reasons(ExpectedOutput(coverage=bound), coverage=coverage)) is accepted


def test_unknown_coverage_is_not_enough() -> None:
    assert _reasons(ExpectedOutput(coverage=" >80% ")) == ("coverage unknown, expected >80%",)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"coverage": "lots"}, "coverage='lots': it must be a number from 0 to 100 such as '>80%'"),
        ({"coverage": "101"}, "coverage='101'"),
        ({"coverage": ">>80"}, "coverage='>>80'"),
        ({"coverage": 80}, "coverage=80"),
        ({"coverage": "１０"}, "coverage='１０'"),
        ({"tests": "green"}, "tests='green': it must be 'all passing', 'N passing' such as '14 passing', or empty"),
        ({"tests": "-1 passing"}, "tests='-1 passing'"),
        ({"tests": None}, "tests=None"),
        ({"files": "auth.py"}, "files='auth.py': it must be a list of paths"),
        ({"files": [3]}, "each must be a path"),
        ({"files": ["/etc/passwd"]}, "files: the path '/etc/passwd' is absolute"),
    ],
)
def test_an_expectation_that_cannot_be_checked_is_refused_when_it_is_made(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as refused:
        ExpectedOutput(**fields)
    assert told in str(refused.value)


def test_whether_code_must_be_run() -> None:
    assert not ExpectedOutput(files=("a.py",)).measured
    assert not ExpectedOutput(tests=" ").measured
    assert ExpectedOutput(tests="all passing").measured
    assert ExpectedOutput(coverage="1").measured


@given(st.sampled_from([">", ">=", "<", "<=", "=", ""]), st.integers(0, 1000), st.integers(0, 1000))
def test_every_bound_compares_as_numbers_do(sign: str, limit: int, value: int) -> None:
    left, right = Decimal(value) / 10, Decimal(limit) / 10
    holds = {">": left > right, "<": left < right, "<=": left <= right, "=": left == right}.get(sign, left >= right)
    assert (not _reasons(ExpectedOutput(coverage=f"{sign}{right}%"), coverage=value / 10)) is holds
