"""Tools by which a model runs Python, over a code runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.orchestration.workflow.delivery import CodeRun, CodeRunner

__all__ = ["python_tools"]

RUN_SECONDS = 50.0
"""Below the time-out of a tool, so that the model hears what was printed until then."""
_NAME = "main.py"


def python_tools(runner: CodeRunner) -> tuple[Callable[..., Any], ...]:
    """Return the tools ``run_python`` and ``run_pytest``, which run what they are given by *runner*."""

    async def run_python(code: str, files: dict[str, str] | None = None) -> str:
        """Run a Python program in a fresh sandbox without your files, and return what it prints and its exit code.

        Nothing is kept from one call to the next.

        Args:
            code: the program.
            files: text files that stand beside it, by relative path.
        """
        run = await runner.run({**(files or {}), _NAME: code}, ["python", _NAME], RUN_SECONDS)
        return _told(run)

    async def run_pytest(files: dict[str, str]) -> str:
        """Run the tests among some Python files in a fresh sandbox, and return what passed, what failed, and the coverage.

        Args:
            files: all files that are needed, by relative path; tests are those named test_*.py or *_test.py.
        """
        return _told(await runner.run(files, None, RUN_SECONDS))

    return run_python, run_pytest


def _told(run: CodeRun) -> str:
    lines = []
    if run.tests is not None:
        tests = run.tests
        lines.append(f"{tests.passed} passed, {tests.failed} failed, {tests.errors} errors, {tests.skipped} skipped")
        lines += [f"failed: {each}" for each in tests.failures]
    if run.coverage is not None:
        lines.append(f"coverage {run.coverage:g} %")
    if run.timed_out:
        lines.append(f"it was ended: {RUN_SECONDS:g} s were up")
    if run.fault:
        lines.append(f"it was ended: {run.fault}")
    lines.append(f"exit code {run.exit_code}")
    lines += [f"--- {name}\n{text}" for name, text in (("stdout", run.stdout), ("stderr", run.stderr)) if text.strip()]
    return "\n".join(lines)
