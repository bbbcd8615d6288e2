"""What tests say of themselves, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Heard"]

_MOST_BYTES = 8 << 20
_MOST_NAMES = 1000
_NAME_CHARS = 200
_COUNTS = {"passed": "passed", "failed": "failed", "error": "errors", "skipped": "skipped"}
_USUAL_ENDS = (0, 5)  # all passed; there were none


class Heard:
    """Takes the lines of a test process. It may say anything: what is no fact of ``tester.py`` is a trouble.

    Each line begins with *word*, which code that only writes to whatever is open does not know.
    """

    def __init__(self, word: str) -> None:
        self._word = word.encode()
        self._rest = b""
        self._bytes = 0
        self._garbled = False
        self._counts = dict.fromkeys(_COUNTS.values(), 0)
        self._failures: list[str] = []
        self._collected = 0
        self._ran = 0
        self._end: int | None = None
        self.lines: dict[str, list[int]] = {}

    def take(self, data: bytes) -> None:
        """Take what came by the pipe."""
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self._garbled = True
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                if not line.startswith(self._word):
                    raise ValueError("somebody else has written it")
                self._fact(json.loads(line[len(self._word) :]))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self._garbled = True

    def _fact(self, fact: dict[str, Any]) -> None:
        if "outcome" in fact:
            self._counts[_COUNTS[fact["outcome"]]] += 1
            if fact["outcome"] in ("failed", "error") and len(self._failures) < _MOST_NAMES:
                self._failures.append(str(fact["name"])[:_NAME_CHARS])
        elif "ran" in fact:
            self._ran += 1
        elif "collected" in fact:
            self._collected += int(fact["collected"])
        else:
            self._end = int(fact["end"])
            self.lines = {str(path): [int(line) for line in lines] for path, lines in fact["lines"].items()}

    def result(self, exit_code: int | None, *, timed_out: bool) -> dict[str, Any]:
        """Return how the tests ended, when their process has ended with *exit_code* (None: it was killed)."""
        trouble = self._trouble(exit_code, timed_out=timed_out)
        failures = [*self._failures, trouble] if trouble else self._failures
        return {**self._counts, "errors": self._counts["errors"] + bool(trouble), "failures": failures}

    def _trouble(self, exit_code: int | None, *, timed_out: bool) -> str:
        if timed_out:
            return "the tests did not end in time"
        if self._end is None:
            how = "it was killed" if exit_code is None else f"with exit code {exit_code}"
            return f"the test process ended before its tests were over: {how}"
        if self._garbled:
            return "what the test process reports cannot be read"
        if exit_code != self._end:
            return f"the test process ended with exit code {exit_code}, its tests with {self._end}"
        if self._counts["failed"] or self._counts["errors"]:
            return ""
        if self._ran < self._collected:
            return f"{self._collected - self._ran} of {self._collected} tests were not run"
        return "" if self._end in _USUAL_ENDS else f"the tests ended with exit code {self._end}"
