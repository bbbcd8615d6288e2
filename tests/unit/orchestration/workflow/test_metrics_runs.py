"""Metrics of a team on a virtual clock, in the numbers of the document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shoal.orchestration.workflow.config import OrchestratorConfig
from tests.support.speakers import Speaker, virtual
from tests.support.workteam import AUTH, files_reply, lead_of, team_of, title_in

WORKS, RESEARCH, APPROVED, ISSUES = 25, 20, 18, 80


def plan() -> list[dict[str, Any]]:
    research = [{"id": f"q{n}", "title": f"Question {n}", "owner": "Researcher"} for n in range(RESEARCH)]
    works = [{"id": f"w{n}", "title": f"Work {n}", "owner": "Developer"} for n in range(WORKS)]
    reviews = [
        {"id": f"r{n}", "title": f"Review {n}", "owner": "Reviewer", "task_type": "review", "reviews": [f"w{n}"]}
        for n in range(WORKS)
    ]
    return [*research, *works, *reviews]


def review(prompt: str) -> str:
    number = int(title_in(prompt).split()[1])
    wanted = [{"severity": "LOW", "title": f"Fault {number}.{n}"} for n in range(4 if number < 5 else 3)]
    approved = number < APPROVED
    facts = {"checked": 1, "correct": 0 if number < 2 else 1}
    return json.dumps({"score": 95 if approved else 50, "approved": approved, "issues": wanted, "facts": facts})


@pytest.mark.spec("W8")
def test_the_numbers_of_the_document() -> None:
    steps = plan()
    config = OrchestratorConfig(max_steps=100, max_rework=0, on_failure="continue", blocking=("HIGH",))
    develop = Speaker("Developer", lambda prompt: files_reply({f"{title_in(prompt)}.py": "x\n"}), seconds=900.0)
    team = team_of(
        steps,
        {
            "Researcher": Speaker("Researcher", "- found", seconds=330.0),
            "Developer": develop,
            "Reviewer": Speaker("Reviewer", review, seconds=480.0),
        },
        lead=lead_of(steps, seconds=2.3),
        config=config,
    )
    report = virtual(lambda clock: team.run(AUTH))
    assert sum(record.status == "failed" for record in report.steps) == WORKS - APPROVED
    assert len(report.issues) == ISSUES
    expected = {
        "orchestrator": {"tasks_delegated": 70, "avg_decomposition_time": "2.3s", "conflict_resolutions": 0},
        "researcher": {"tasks_completed": 20, "avg_research_time": "5m 30s", "accuracy_score": 0.92},
        "developer": {"tasks_completed": 25, "avg_coding_time": "15m", "first_approval_rate": 0.72},
        "reviewer": {"tasks_completed": 25, "avg_review_time": "8m", "issues_found_per_task": 3.2},
    }
    assert json.dumps(team.metrics()) == json.dumps(expected) == json.dumps(report.metrics)
    numbers = team.metrics(numbers=True)
    assert numbers["developer"]["avg_coding_seconds"] == 900.0
    assert set(team.metrics(by="instance")) == {"Lead", "Researcher", "Developer", "Reviewer"}
