"""Budgets that are spent at any call of teams whose steps are at once, nested, or in conflict; and then enlarged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shoal.kernel.budget import Budget
from shoal.orchestration import Orchestrator
from tests.lifecycle.workflow.test_team_reviews import nested, one_work, shown, two_works
from tests.support.replay import Lives, Make, check_many_deaths, without_times
from tests.support.speakers import Calls, Speaker
from tests.support.workteam import AUTH, auth_team, files_reply, team_of


def dispute(calls: Calls) -> Orchestrator:
    """A developer who disputes an issue and objects to an order, in one answer."""
    plan = [
        {"title": "Do", "owner": "Developer"},
        {"title": "Code review", "owner": "Reviewer", "depends_on": [1]},
    ]

    def develop(prompt: str) -> str:
        if "There is a conflict" in prompt:
            return json.dumps({"statement": "as it was asked for", "evidence": ["the order"]})
        if "was reviewed" not in prompt:
            return files_reply({"a.py": "x = 1\n"})
        return files_reply(
            {"a.py": "x = 2\n"},
            disputed=[{"issue": "R1", "statement": "it is as it was asked for", "evidence": ["the order"]}],
            objections=[{"topic": "The name of the file", "statement": "b.py is better", "evidence": ["a book"]}],
        )

    def review(prompt: str) -> str:
        if "There is a conflict" in prompt:
            return json.dumps({"statement": "that can be attacked", "evidence": ["a list"]})
        if shown(prompt):
            return json.dumps({"score": 95, "approved": True, "resolved": shown(prompt)})
        return json.dumps({"score": 80, "issues": [{"severity": "HIGH", "title": "A weak hash"}]})

    def lead(prompt: str) -> str:
        if prompt.startswith("You lead"):
            return json.dumps(plan)
        if "Resolve a conflict" not in prompt:
            return "It is done."
        parts = {"winner": "Reviewer", "analysis": "a", "proposal": "p", "decision": "d", "result": "r"}
        return json.dumps({**parts, "keeps_constraint": True})

    developers = [Speaker("Developer", develop, calls), Speaker("Developer", develop, calls)]
    roles = {"Developer": developers, "Reviewer": Speaker("Reviewer", review, calls)}
    return team_of(plan, roles, lead=Speaker("Lead", lead, calls))


TEAMS: dict[str, Make] = {
    "auth": auth_team,
    "nested": nested,
    "one work": one_work,
    "dispute": dispute,
    "at once": two_works(1.0, 2.0, ("A typo", "A slip")),
}


@pytest.mark.spec("W16")
@pytest.mark.parametrize("name", TEAMS)
def test_a_budget_that_is_spent_at_any_call_and_enlarged_changes_nothing(name: str) -> None:
    whole = Lives(TEAMS[name], AUTH).live().result
    assert whole.success and whole.ready
    for most in range(1, whole.usage.calls):
        lives = Lives(TEAMS[name], AUTH, budget=Budget(max_calls=most))
        report = lives.live().result
        assert (report.stopped, report.success, report.usage.calls) == ("budget", False, most)
        assert report.recoveries == report.escalations == (), "it is no failure of an agent"
        assert not any(record.status in ("failed", "skipped") for record in report.steps)
        lives.budget = Budget(max_calls=1000)
        assert _comparable(lives.live().result, name) == _comparable(whole, name), f"after {most} calls"
        assert len(lives.calls) == len(set(lives.calls.places()))


def _comparable(report: Any, name: str) -> Any:
    """Return the report; of steps at once what does not depend on which is quicker."""
    if name != "at once":
        return without_times(report)
    issues = sorted((issue.title, issue.status, issue.opened_by) for issue in report.issues)
    return report.ready, report.files, issues, [record.reworks for record in report.steps], len(report.trace)


@pytest.mark.spec("W11")
def test_conflicts_go_on_after_deaths_in_their_middle() -> None:
    report = Lives(dispute, AUTH).live().result
    assert len(report.conflicts) == 2 and report.ready
    for point in range(20, 70, 4):
        check_many_deaths(dispute, AUTH, [point, 5])
