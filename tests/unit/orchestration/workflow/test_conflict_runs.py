"""Conflicts in a whole run: a disputed issue is decided once, by both sides' arguments, and stays decided."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shoal.orchestration import Brief, Orchestrator, Plan, WorkflowReport
from tests.support.speakers import Calls, Speaker, virtual

PLAN = Plan.from_text("1. Implement code → Need Developer\n2. Security review → Need Reviewer")
DISPUTE = {
    "issue": "R1",
    "statement": "The gateway limits rates",
    "evidence": ["gateway.conf:3"],
    "tags": ["operations"],
}


class Dispute:
    """A developer who disputes the one issue of a reviewer whenever he is asked for work, and what comes of it.

    Args:
        tags: of the reviewer's position.
        winner: whom the lead names.
        closes: in which review the reviewer closes the issue.
    """

    def __init__(self, tags: list[str], winner: str, closes: int = 99) -> None:
        self.calls = Calls()
        self._tags = tags
        self._winner = winner
        self._closes = closes
        self._reviews = self._works = 0

    def run(self) -> WorkflowReport:
        """Run it in virtual time."""
        speakers = [
            Speaker(name, answer, self.calls, cost=0.25)
            for name, answer in (("Lead", self._lead), ("Dev", self._developer), ("Rev", self._reviewer))
        ]
        lead, developer, reviewer = speakers
        team = Orchestrator(lead, {"Developer": developer, "Reviewer": reviewer}, plan=PLAN)
        return virtual(lambda clock: team.run(Brief("Build it", requirements=("Fast answers",))))

    def _developer(self, message: str) -> str:
        self._works += 1
        said: dict[str, Any] = {"summary": "done", "files": {"a.py": f"x = {self._works}\n"}}
        return json.dumps(said if self._works == 1 else {**said, "disputed": [DISPUTE]})

    def _reviewer(self, message: str) -> str:
        if "asked for the position" in message:
            return json.dumps({"statement": "Nobody limits rates", "evidence": ["1,000 in 1 s"], "tags": self._tags})
        self._reviews += 1
        if self._reviews == 1:
            return json.dumps({"score": 85, "issues": [{"title": "Missing rate limiting", "severity": "HIGH"}]})
        return json.dumps({"score": 98, "approved": True, "resolved": ["R1"] * (self._reviews >= self._closes)})

    def _lead(self, message: str) -> str:
        if "Resolve a conflict" not in message:
            return "The summary."
        decided = {"analysis": "a", "proposal": "p", "decision": "As it is.", "result": "r"}
        return json.dumps({**decided, "winner": self._winner, "keeps_constraint": True})


@pytest.mark.spec("W7")
def test_a_point_that_was_decided_is_not_open_again() -> None:
    dispute = Dispute(["security"], "Reviewer", closes=3)
    report = dispute.run()
    [record] = report.conflicts
    assert (record.rule, record.winner, record.topic) == ("security_first", "Reviewer", "Missing rate limiting")
    assert (record.implementer, record.approver) == ("Developer", "Reviewer")
    assert [(each.agent, each.evidence) for each in record.dissent] == [("Developer", ("gateway.conf:3",))]
    works = [message for _, place, message in dispute.calls.made if "/w" in place and "disputed" in message]
    assert dispute._works > 2, "it was disputed again"
    assert "Decisions in force" in works[-1] and "Nobody limits rates" in works[-1]
    assert (report.success, [issue.status for issue in report.issues]) == (True, ["resolved"])


def test_an_issue_that_was_overruled_is_waived() -> None:
    report = Dispute(["operations"], "Developer").run()
    [record], [issue] = report.conflicts, report.issues
    assert (record.rule, record.winner, record.approver) == ("lead", "Developer", "Orchestrator")
    assert (issue.status, issue.conflict_id) == ("waived", record.id)
    assert [each.statement for each in record.dissent] == ["Nobody limits rates"]
    assert report.success and record.decided_at is not None
