"""What a developer does not agree with, in a whole run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shoal.orchestration.workflow.report import WorkflowReport
from tests.support.speakers import Speaker, virtual
from tests.support.workteam import AUTH, files_reply, team_of

PLAN = [
    {"title": "Implement code", "owner": "Developer"},
    {"title": "Security review", "owner": "Reviewer", "depends_on": [1]},
]
CODE = {"hashing.py": "x = 1\n"}


def run(roles: dict[str, Any], lead: Any) -> WorkflowReport:
    def leading(prompt: str) -> Any:
        if prompt.startswith("You lead a team."):
            return json.dumps(PLAN)
        return "summed up" if prompt.startswith("Your team has finished.") else lead(prompt)

    report: WorkflowReport = virtual(lambda clock: team_of("", roles, lead=Speaker("Lead", leading)).run(AUTH))
    return report


def asks_for_position(prompt: str) -> bool:
    return '"description"' not in prompt


@pytest.mark.spec("W7")
def test_an_overruled_issue_is_waived_and_a_decided_point_is_not_reopened() -> None:
    rounds: list[str] = []

    def develop(prompt: str) -> Any:
        if asks_for_position(prompt):
            return json.dumps({"statement": "Names are fine", "evidence": ["the style guide"]})
        dispute = {"issue": "R1", "statement": "The names follow the guide", "evidence": ["the style guide"]}
        return files_reply(CODE, disputed=[dispute] if "R1" in prompt else [])

    def review(prompt: str) -> Any:
        if asks_for_position(prompt):
            return json.dumps({"statement": "Names are unclear", "evidence": ["line 1"]})
        rounds.append(prompt)
        issue = {"severity": "LOW", "title": "Unclear names"}
        return json.dumps({"score": 95, "approved": True, "issues": [issue] if len(rounds) == 1 else []})

    def lead(prompt: str) -> str:
        made = {"analysis": "both heard", "proposal": "keep them", "decision": "The names stay", "winner": "Developer"}
        return json.dumps({**made, "result": "The guide wins"})

    report = run({"Developer": {"": develop}, "Reviewer": {"": review}}, lead)
    assert report.success, report.error
    (record,) = report.conflicts
    assert (record.rule, record.winner, record.implementer) == ("lead", "Developer", "Developer")
    (issue,) = report.issues
    assert (issue.status, issue.conflict_id) == ("waived", record.id)
    assert [position.agent for position in record.dissent] == ["Reviewer"]
    assert "The names stay" in rounds[1]


@pytest.mark.spec("W7")
def test_a_finding_of_a_reviewer_who_does_not_answer_stands() -> None:
    def develop(prompt: str) -> Any:
        dispute = {"issue": "R1", "statement": "It is fast enough", "evidence": ["a measurement"]}
        return files_reply(CODE, disputed=[dispute] if "R1" in prompt else [])

    def review(prompt: str) -> Any:
        if asks_for_position(prompt):
            return RuntimeError("no answer")
        return json.dumps({"score": 50, "issues": [{"severity": "HIGH", "title": "Passwords can be injected"}]})

    def lead(prompt: str) -> str:
        return json.dumps({"decision": "It must be mended", "winner": "Reviewer", "keeps_constraint": True})

    report = run({"Developer": {"": develop}, "Reviewer": {"": review}}, lead)
    assert not report.success
    (record,) = report.conflicts
    assert (record.rule, record.winner) == ("security_first", "Reviewer")
    assert [issue.status for issue in report.issues] == ["open"]


def test_an_objection_that_is_made_twice_is_decided_once() -> None:
    def develop(prompt: str) -> Any:
        objection = {"topic": "hashing", "statement": "Use synchronous hashing", "evidence": ["it is quicker"]}
        return files_reply(CODE, objections=[objection, objection])

    def review(prompt: str) -> Any:
        if asks_for_position(prompt):
            return json.dumps({"statement": "That opens timing attacks", "evidence": ["CWE-208"]})
        return json.dumps({"score": 95, "approved": True})

    def lead(prompt: str) -> str:
        return json.dumps(
            {"decision": "Use bcrypt", "winner": "Reviewer", "keeps_constraint": True, "result": "Security"}
        )

    report = run({"Developer": {"": develop}, "Reviewer": {"": review}}, lead)
    assert report.success, report.error
    (record,) = report.conflicts
    assert (record.winner, record.approver, record.implementer) == ("Reviewer", "Reviewer", "Developer")
    assert report.steps[0].reworks == 1  # the decision had to be put into the work
