"""What is handed in: files, words, and what their tests were seen to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from shoal.orchestration.workflow.review import Review

__all__ = ["CodeRun", "CodeRunner", "Delivery", "Dispute", "Objection", "TestResult"]


class TestResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tests ended. ``failures`` names those that failed; ``source``: were they run, or is it what somebody says."""

    __test__ = False  # to pytest: it is none

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()
    source: Literal["measured", "claimed"] = "measured"

    @property
    def total(self) -> int:
        """How many there are, skipped ones left out."""
        return self.passed + self.failed + self.errors

    @property
    def all_passing(self) -> bool:
        """Whether at least one passed, and none failed or could not be run."""
        return self.passed > 0 and not self.failed and not self.errors


class CodeRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What running code did.

    Attributes:
        exit_code: of the command; None when it was killed before its end.
        stdout, stderr: what it printed, cut at 1 MiB each.
        tests: how its tests ended; None when a command was run, or there are none.
        coverage: executed lines of the files that are no tests, in percent of their executable lines; None: not measured.
        duration_ms: in the box.
        timed_out: whether it was killed because its time was up.
        fault: why it could not be run to its end (a limit of the box, its death); empty: it was.
    """

    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    tests: TestResult | None = None
    coverage: float | None = None
    duration_ms: float = 0.0
    timed_out: bool = False
    fault: str = ""


class CodeRunner(Protocol):
    """Runs code that others wrote, where it can harm nobody."""

    async def run(
        self, files: Mapping[str, str], command: Sequence[str] | None = None, timeout: float = 300.0
    ) -> CodeRun:
        """Run *command* (None: the tests among *files*, with coverage) beside *files* in a fresh box.

        Args:
            files: text by relative path.
            command: a program and its arguments; no shell.
            timeout: seconds until it is killed.
        """
        ...


class Objection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the one who works holds against what was asked or decided. ``against``: whose view, a role."""

    topic: str
    statement: str = ""
    evidence: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    against: str = ""


class Dispute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An issue that the one who should mend it holds to be none."""

    issue: str
    statement: str = ""
    evidence: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent handed in.

    Attributes:
        summary, outputs: what it says of its work, in a text and in lines.
        files: text by relative path.
        tests, coverage: how tests ended, and percent; after a code run what was measured, else what is claimed.
        resolved: ids of the issues that it says it has mended; only a reviewer closes them.
        disputed, objections: what it does not agree with.
        recommendations: for others.
        review: its judgement, of one who reviews.
        raw: the reply as it came.
    """

    summary: str = ""
    outputs: tuple[str, ...] = ()
    files: dict[str, str] = {}
    tests: TestResult | None = None
    coverage: float | None = None
    resolved: tuple[str, ...] = ()
    disputed: tuple[Dispute, ...] = ()
    objections: tuple[Objection, ...] = ()
    recommendations: tuple[str, ...] = ()
    review: Review | None = None
    raw: str = ""

    def measured(self, run: CodeRun) -> Delivery:
        """Return it with what *run* has measured in place of what it claims."""
        return msgspec.structs.replace(self, tests=run.tests or TestResult(), coverage=run.coverage)
