"""Whether what was handed in is what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from shoal.orchestration.workflow.delivery import Delivery, TestResult
from shoal.orchestration.workflow.expected import ExpectedOutput

__all__ = ["check_output"]

NAMED_FAILURES = 20


def check_output(expected: ExpectedOutput, delivery: Delivery) -> tuple[str, ...]:
    """Return why *delivery* is not what was *expected*, a reason each; empty: it is accepted.

    Numbers are compared as decimals, so 80 is not above ``>80%``, and 80.1 is.
    """
    return (
        *_missing_files(expected, delivery),
        *_tests_reason(expected, delivery.tests),
        *_coverage_reason(expected, delivery.coverage),
    )


def _missing_files(expected: ExpectedOutput, delivery: Delivery) -> Iterator[str]:
    if not expected.files:
        return
    names = {path.rpartition("/")[2] for path in delivery.files}
    for path in expected.files:
        if path not in delivery.files and ("/" in path or path not in names):
            yield f"missing file {path}"


def _tests_reason(expected: ExpectedOutput, tests: TestResult | None) -> Iterator[str]:
    needed = expected.passing
    if needed is None:
        return
    if tests is None:
        yield f"tests: no result, expected {expected.tests.strip()}"
    elif needed:
        if tests.passed < needed:
            yield f"tests: {tests.passed} passing, expected {expected.tests.strip()}"
    elif tests.failed or tests.errors:
        yield _failed(tests)
    elif not tests.passed:
        yield f"tests: none passed, expected {expected.tests.strip()}"


def _failed(tests: TestResult) -> str:
    parts = [f"{tests.failed} of {tests.total} failed"] if tests.failed else []
    if tests.errors:
        parts.append(f"{tests.errors} of {tests.total} with an error")
    names = ", ".join(tests.failures[:NAMED_FAILURES])
    more = f" and {len(tests.failures) - NAMED_FAILURES} more" if len(tests.failures) > NAMED_FAILURES else ""
    return f"tests: {', '.join(parts)}" + (f": {names}{more}" if names else "")


def _coverage_reason(expected: ExpectedOutput, coverage: float | None) -> Iterator[str]:
    bound = expected.bound
    if bound is None:
        return
    wanted = expected.coverage.strip()
    if coverage is None:
        yield f"coverage unknown, expected {wanted}"
    elif not bound.holds(Decimal(str(coverage))):
        yield f"coverage {str(coverage).removesuffix('.0')} %, expected {wanted}"
