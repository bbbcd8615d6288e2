"""Running code that others wrote in a fresh box, and measuring what its tests do."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from shoal.errors import BoxError, BoxWaitTimeoutError, DeadAgentError, RuntimeClosedError
from shoal.orchestration.workflow.codeguest.watcher import watch
from shoal.orchestration.workflow.delivery import CodeRun, TestResult
from shoal.orchestration.workflow.paths import check_files

__all__ = ["BoxRunner", "CodeBox", "CodeBoxes", "is_source", "is_test"]

_GRACE = 30.0  # seconds beyond the time-out in which the box says itself that the time was up


class CodeBox(Protocol):
    """What of a box is needed here (``shoal.Box`` is one)."""

    name: str
    reason: str | None
    error: str | None
    result: Any

    def task(self, function: Callable[[], Any]) -> Any:
        """Register what it runs."""
        ...

    async def run(self) -> None:
        """Begin to run it."""
        ...

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises BoxWaitTimeoutError."""
        ...


class CodeBoxes(Protocol):
    """Where boxes come from."""

    async def check(self) -> None:
        """Raise IsolationUnavailableError when none can be made here."""
        ...

    async def create(self) -> CodeBox:
        """Return a fresh one."""
        ...

    async def discard(self, name: str) -> None:
        """End that one with all that is in it."""
        ...


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the watcher in the box returns. Bytes travel as base64."""

    stdout: str
    stderr: str
    exit_code: int | None
    timed_out: bool
    duration_ms: float
    tests: TestResult | None = None
    coverage: float | None = None


class BoxRunner:
    """A ``CodeRunner``: each run has a fresh box, which is gone with all that was in it when the run has ended.

    Tests are run by pytest where the box has it, else by unittest, from the top folder, whose files and those below ``src``
    can be imported. They are the files ``test_*.py`` and ``*_test.py``. Coverage counts the lines of all other ``.py``
    files that are neither ``conftest.py`` nor below ``tests``, also of those that no test imports; what other processes
    execute is not seen.

    What it measures was seen from a process in which none of that code runs. What remains possible: code that means to
    can reach into the test runner with which it shares a process, and have it report what it likes.

    Args:
        boxes: where its boxes come from.
    """

    def __init__(self, boxes: CodeBoxes) -> None:
        self._boxes = boxes

    async def check(self) -> None:
        """Raise IsolationUnavailableError, with the reasons, when there can be no such box on this machine."""
        await self._boxes.check()

    async def run(
        self, files: Mapping[str, str], command: Sequence[str] | None = None, timeout: float = 300.0
    ) -> CodeRun:
        """Run *command* (None: the tests among *files*, with coverage) beside *files* in a fresh box.

        Args:
            files: text by relative path; at most 200 of 1 MiB each, 8 MiB together.
            command: a program and its arguments; no shell. ``python`` is the interpreter that runs the tests.
            timeout: seconds until everything in the box is killed.

        Returns:
            What happened, whatever it was: tests that fail, time-outs and limits are facts, no errors. Where tests were run
            and their run did not end by itself, ``tests`` has an error more.

        Raises:
            ValueError: a path, the files together, the command or the time-out is not possible; nothing was run.
            IsolationUnavailableError, LimitUnavailableError, BoxStartError: there is no box.
            RuntimeClosedError: its runtime has stopped, before or meanwhile.
        """
        check_files(files)
        _check_order(command, timeout)
        tests = [path for path in files if is_test(path)]
        job = {
            "files": dict(files),
            "command": None if command is None else list(command),
            "tests": tests,
            "sources": [path for path in files if is_source(path)],
            "timeout": float(timeout),
        }
        box = await self._boxes.create()
        try:
            return await _run_in(box, job)
        finally:
            await self._boxes.discard(box.name)


async def _run_in(box: CodeBox, job: dict[str, Any]) -> CodeRun:
    box.task(functools.partial(watch, job))
    try:
        await box.run()
        await box.wait(job["timeout"] + _GRACE)
    except BoxWaitTimeoutError:
        return _broken(job, "", timed_out=True)
    except (DeadAgentError, BoxError) as error:
        if box.reason != "stopped":
            return _broken(job, box.reason or str(error))
    if box.reason == "stopped":  # by us: that says nothing about the code
        raise RuntimeClosedError
    fault = "" if box.reason == "exit" else box.reason or ""
    try:
        report = msgspec.convert(box.result, _Report)
        stdout, stderr = _text(report.stdout), _text(report.stderr)
    except (msgspec.ValidationError, ValueError):
        return _broken(job, fault or f"what watches the code in the box has failed: {box.error or 'it was disturbed'}")
    return CodeRun(
        exit_code=report.exit_code,
        stdout=stdout,
        stderr=stderr,
        tests=report.tests,
        coverage=report.coverage,
        duration_ms=round(report.duration_ms, 3),
        timed_out=report.timed_out,
        fault=fault,
    )


def _broken(job: dict[str, Any], fault: str, *, timed_out: bool = False) -> CodeRun:
    """Return the run of a box that could not say itself what happened."""
    why = "the tests did not end in time" if timed_out else f"the test run was broken off: {fault}"
    tests = None if job["command"] is not None else TestResult(errors=1, failures=(why,))
    return CodeRun(tests=tests, timed_out=timed_out, fault=fault)


def _text(data: str) -> str:
    return base64.b64decode(data, validate=True).decode("utf-8", "backslashreplace")


def _check_order(command: Sequence[str] | None, timeout: float) -> None:
    if command is not None and (
        isinstance(command, str)
        or not command
        or not all(isinstance(word, str) and "\0" not in word for word in command)
    ):
        raise ValueError(f"a command is a program and its arguments, a list of texts, not {command!r:.200}")
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r:.80}")


def is_test(path: str) -> bool:
    """Tell whether *path* is a file of tests by its name, as pytest sees it."""
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def is_source(path: str) -> bool:
    """Tell whether the lines of *path* count for coverage: it is Python and belongs to no tests."""
    *folders, name = path.split("/")
    return name.endswith(".py") and name != "conftest.py" and "tests" not in folders and not is_test(path)
