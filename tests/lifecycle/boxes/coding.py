"""Runners of code over real boxes, and files for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shoal import AgentRuntime
from shoal.orchestration.workflow.delivery import CodeRunner, TestResult

__all__ = ["CALC", "DEFECT", "FOURTEEN", "calc_tests", "result", "runner_at"]

CALC = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n"
"""Four lines that can be executed."""


def calc_tests(passing: int, failing: int = 0) -> str:
    """Return a file of tests of ``add``."""
    lines = ["from calc import add\n"]
    lines += [
        f"\n\ndef test_sum_{number}():\n    assert add({number}, 1) == {number + 1}\n" for number in range(passing)
    ]
    lines += [f"\n\ndef test_wrong_{number}():\n    assert add({number}, 1) == 0\n" for number in range(1, failing + 1)]
    return "".join(lines)


FOURTEEN = {"calc.py": CALC, "test_calc.py": calc_tests(14)}
DEFECT = {"calc.py": CALC, "test_calc.py": calc_tests(12, 2)}


@asynccontextmanager
async def runner_at(level: str, **options: int | bool) -> AsyncIterator[CodeRunner]:
    """Give a runtime's runner over boxes of *level*."""
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        yield runtime.code_runner(level, **options)  # type: ignore[arg-type]


def result(
    passed: int = 0, failed: int = 0, errors: int = 0, skipped: int = 0, failures: tuple[str, ...] = ()
) -> TestResult:
    """Return what was measured."""
    return TestResult(passed=passed, failed=failed, errors=errors, skipped=skipped, failures=failures)
