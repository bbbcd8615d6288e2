"""An orchestrator on the seed's task, undisturbed: its trace, its corrections, its report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.report import WorkflowReport
from tests.support.speakers import Calls, virtual
from tests.support.workteam import AUTH, BRIEF, ISSUES, PLAN, TRACE, auth_team, files_reply, team_of


def run_team(team: Any, task: Any = BRIEF) -> WorkflowReport:
    report: WorkflowReport = virtual(lambda clock: team.run(task))
    return report


def blocks(text: str) -> list[str]:
    return [block.rstrip() for block in text.split("\n\n")]


def test_a_fix_for_a_review_is_no_attempt_of_it() -> None:
    report = virtual(lambda clock: auth_team().run(BRIEF))
    (review,) = [record for record in report.steps if record.step.title == "Security review"]
    assert (review.attempts, review.review_scores, review.instance) == (2, (85, 98), "Reviewer")


@pytest.mark.spec("W1")
def test_the_task_of_the_document() -> None:
    calls = Calls()
    report = run_team(auth_team(calls))
    assert report.success, report.error
    printed = blocks(report.trace_text())
    place = -1
    for wanted in blocks(TRACE):
        assert wanted in printed[place + 1 :], f"{wanted}\n\nis not in what comes after\n\n{report.trace_text()}"
        place = printed.index(wanted, place + 1)
    assert len(calls) == 11
    assert [record.review.score for record in report.reviews] == [85, 98, 98]
    assert report.ready and report.content == "It is built."
    assert report.to_markdown().rstrip().endswith("Ready for deployment")


@pytest.mark.spec("W4")
def test_what_was_found_is_fixed_by_its_id() -> None:
    report = run_team(auth_team())
    assert [(issue.id, issue.severity, issue.status) for issue in report.issues] == [
        ("R1", "HIGH", "resolved"),
        ("R2", "MEDIUM", "resolved"),
        ("R3", "MEDIUM", "resolved"),
    ]
    reworks = {record.step.title: record.reworks for record in report.steps}
    assert sum(reworks.values()) == 1 and reworks["Implement code"] == 1
    assert [record.approved for record in report.reviews] == [False, True, True]
    assert report.steps[4].review_scores == (85, 98)


@pytest.mark.spec("W4")
def test_an_id_that_is_left_out_blocks_the_approval() -> None:
    def review(prompt: str) -> str:
        if "R1 HIGH" in prompt:
            return json.dumps({"score": 98, "approved": True, "resolved": ["R1", "R2"]})
        return json.dumps({"score": 85, "issues": ISSUES})

    developer = {"": files_reply({"auth.py": "x = 1\n"})}
    team = team_of(PLAN, {"Researcher": {}, "Developer": developer, "Reviewer": {"": review}})
    report = run_team(team)
    assert not report.success and not report.ready
    assert report.reviews[1].reasons == ("open: R3 MEDIUM No refresh token rotation",)


@pytest.mark.spec("W5")
def test_a_reviewer_that_never_approves() -> None:
    def review(prompt: str) -> str:
        return json.dumps({"score": 85, "issues": [{"id": "R1", "severity": "HIGH", "title": "Missing rate limiting"}]})

    developer = {"": files_reply({"auth.py": "x = 1\n"})}
    report = run_team(team_of(PLAN, {"Researcher": {}, "Developer": developer, "Reviewer": {"": review}}))
    statuses = [record.status for record in report.steps]
    assert statuses == ["completed"] * 4 + ["failed", "skipped", "skipped"]
    why = "not approved after 3 reworks: score 85 < 90; open: R1 HIGH Missing rate limiting"
    assert report.steps[4].error == why
    assert report.error == f"step 5 (Security review) failed: {why}"
    assert "step 5 (Security review) failed" in str(report.steps[5].error)
    assert sum(record.reworks for record in report.steps) == 3
    assert any("2 reworks in a row changed nothing" in warning for warning in report.warnings)
    assert report.files == {"auth.py": "x = 1\n"} and "Not ready" in report.to_markdown()


@pytest.mark.spec("W6")
def test_work_that_is_not_what_was_expected_is_sent_back_with_the_reasons() -> None:
    plan = [
        {
            "title": "Write it",
            "owner": "Developer",
            "expected_output": {"files": ["auth.py", "test_auth.py"], "tests": "all passing", "coverage": ">80%"},
        }
    ]
    told: list[str] = []
    replies = iter(
        [
            files_reply(
                {"auth.py": "x = 1\n"}, tests={"passed": 12, "failed": 2, "failures": ["test_login", "test_expiry"]}
            ),
            files_reply({"auth.py": "x = 1\n", "test_auth.py": "x\n"}, tests={"passed": 14}, coverage=79),
            files_reply({"auth.py": "x = 1\n", "test_auth.py": "x\n"}, tests={"passed": 14}, coverage="80%"),
            files_reply({"auth.py": "x = 1\n", "test_auth.py": "x\n"}, tests={"passed": 14}, coverage=80.1),
        ]
    )

    def develop(prompt: str) -> str:
        told.append(prompt)
        return next(replies)

    report = run_team(team_of(plan, {"Developer": {"": develop}}), AUTH)
    assert report.success and report.steps[0].reworks == 3
    assert "missing file test_auth.py" in told[1] and "2 of 14 failed: test_login, test_expiry" in told[1]
    assert "coverage 79 %, expected >80%" in told[2] and "coverage 80 %, expected >80%" in told[3]
    assert report.coverage == 80.1 and report.tests is not None and report.tests.source == "claimed"
    assert not report.ready and report.not_ready == ("the tests were not run: their numbers are claimed",)


def test_no_plan_is_invented() -> None:
    asked: list[str] = []

    def lead(prompt: str) -> str:
        asked.append(prompt)
        return '[{"title": "Test it", "owner": "Tester"}]'

    from tests.support.speakers import Speaker

    team = team_of("", {"Developer": {}}, lead=Speaker("Lead", lead))
    report = run_team(team)
    assert not report.success and report.steps == () and len(asked) == 2
    assert "owner 'Tester' is not one of Developer, Orchestrator" in str(report.error)
    assert "owner 'Tester' is not one of Developer, Orchestrator" in asked[1]


def test_on_failure_continue_goes_on_with_what_does_not_depend_on_it() -> None:
    plan = [
        {"id": "a", "title": "A", "owner": "Developer"},
        {"id": "b", "title": "B", "owner": "Developer", "depends_on": ["a"]},
        {"id": "c", "title": "C", "owner": "Writer"},
    ]
    roles = {"Developer": {"A": RuntimeError("no")}, "Writer": {}}
    report = run_team(team_of(plan, roles, config=OrchestratorConfig(on_failure="continue", max_parallel=1)))
    assert [record.status for record in report.steps] == ["failed", "skipped", "completed"]
