"""Fixes are held to what all the reviewed steps must hand in, and those after a review see the files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.delivery import CodeRun, TestResult
from tests.support.speakers import virtual
from tests.support.workteam import AUTH, files_reply, team_of, title_in

PLAN = [
    {"title": "Implement code", "owner": "Developer"},
    {"title": "Write tests", "owner": "Tester", "depends_on": [1], "expected_output": {"tests": "all passing"}},
    {"title": "Security review", "owner": "Reviewer", "depends_on": [2], "reviews": [1, 2]},
    {"title": "Performance check", "owner": "Developer", "depends_on": [3]},
]


class Runner:
    """Its tests pass as long as the code is good."""

    def __init__(self) -> None:
        self.ran: list[dict[str, str]] = []

    async def run(
        self, files: Mapping[str, str], command: Sequence[str] | None = None, timeout: float = 300.0
    ) -> CodeRun:
        self.ran.append(dict(files))
        good = "good" in files.get("code.py", "")
        tests = TestResult(passed=2) if good else TestResult(passed=1, failed=1, failures=("test_it",))
        return CodeRun(exit_code=0 if good else 1, tests=tests, coverage=90.0)


def test_a_fix_that_breaks_the_code_is_not_ready() -> None:
    prompts: dict[str, str] = {}

    def develop(prompt: str) -> str:
        if "Performance check" in prompt:
            prompts["check"] = prompt
            return "- quick"
        prompts.setdefault("first", prompt)
        return files_reply({"code.py": "bad\n" if "R1 HIGH" in prompt else "good\n"})

    def review(prompt: str) -> str:
        issue = {"severity": "HIGH", "title": "It leaks", "file": "code.py"}
        if "R1 HIGH [open]" in prompt:
            return json.dumps({"score": 98, "approved": True, "resolved": ["R1"]})
        return json.dumps({"score": 60, "issues": [issue], "recommendations": ["Close the file"]})

    roles: dict[str, Any] = {
        "Developer": {"": develop},
        "Tester": {"": files_reply({"test_code.py": "test\n"})},
        "Reviewer": {"": review},
    }
    runner = Runner()
    config = OrchestratorConfig(max_rework=1)
    report = virtual(lambda clock: team_of(PLAN, roles, runner=runner, config=config).run(AUTH))
    assert not report.success and not report.ready
    assert "2 of" not in str(report.error) and "tests: 1 of 2 failed: test_it" in str(report.error)
    assert report.tests is not None and report.tests.failed == 0, "what was accepted last"
    assert runner.ran[-1] == {"code.py": "bad\n", "test_code.py": "test\n"}
    assert AUTH in prompts["first"]


@pytest.mark.parametrize("runner", [None, Runner()])
def test_who_works_is_told_how_to_claim_what_nobody_measures(runner: Runner | None) -> None:
    prompts: dict[str, str] = {}

    def answer(name: str, reply: str) -> Any:
        return {"": lambda prompt: prompts.setdefault(name, prompt) and reply}

    roles: dict[str, Any] = {
        "Developer": answer("Developer", files_reply({"code.py": "good\n"})),
        "Tester": answer("Tester", files_reply({"test_code.py": "test\n"}, tests="2 passed", coverage=90)),
    }
    report = virtual(lambda clock: team_of(PLAN[:2], roles, runner=runner).run(AUTH))
    assert report.tests is not None and report.tests.source == ("claimed" if runner is None else "measured")
    assert ('"tests": "14 passed' in prompts["Tester"]) is (runner is None)
    assert '"tests": "14 passed' not in prompts["Developer"], "nothing is asked for there"


def test_who_comes_after_a_review_sees_the_files() -> None:
    prompts: list[str] = []

    def develop(prompt: str) -> str:
        prompts.append(prompt)
        return files_reply({"code.py": "good\n"})

    roles: dict[str, Any] = {
        "Developer": {"": develop},
        "Tester": {"": files_reply({"test_code.py": "test\n"})},
        "Reviewer": {"": '{"score": 95, "approved": true}'},
    }
    report = virtual(lambda clock: team_of(PLAN, roles, runner=Runner()).run(AUTH))
    assert report.success, report.error
    assert "FILE: code.py" in prompts[-1] and "FILE: test_code.py" in prompts[-1]
    assert report.ready and report.tests is not None and report.tests.passed == 2


def test_a_fix_that_was_lost_under_another_one_at_once_is_told() -> None:
    plan = [
        {"id": "w", "title": "Code", "owner": "Developer"},
        *({"id": f"d{n}", "title": f"Docs {n}", "owner": "Tester", "depends_on": ["w"]} for n in (1, 2)),
        *({"id": f"r{n}", "title": f"Review {n}", "owner": "Reviewer", "depends_on": [f"d{n}"]} for n in (1, 2)),
    ]

    def develop(prompt: str) -> str:
        return files_reply({"code.py": f"# {title_in(prompt)}\n"})

    def review(prompt: str) -> str:
        if "[open]" in prompt:
            return json.dumps({"score": 98, "approved": True, "resolved": re.findall(r"- (R\d) HIGH", prompt)})
        return json.dumps({"score": 60, "issues": [{"severity": "HIGH", "title": f"Wrong in {title_in(prompt)}"}]})

    roles = {"Developer": {"": develop}, "Tester": {"": "- notes"}, "Reviewer": {"": review}}
    report = virtual(lambda clock: team_of(plan, roles).run(AUTH))
    assert report.success and report.files == {"code.py": "# Fix the issues of: Review 2\n"}
    assert report.warnings == ("code.py: steps r1 and r2 changed it at once; that of step r2 stands",)
    once = virtual(lambda clock: team_of(plan[:2], roles).run(AUTH))
    assert once.success and not once.warnings
