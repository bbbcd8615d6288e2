"""Agents that fail: the five actions, the backup, the delay, the late answer, and the end when nobody is left."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shoal.kernel.starting import present_clock
from shoal.orchestration.workflow.recovery import ACTIONS
from shoal.orchestration.workflow.recoverytext import recovery_text
from shoal.orchestration.workflow.report import WorkflowReport
from tests.support.speakers import Said, Speaker, virtual
from tests.support.workteam import AUTH, lead_of, team_of

PLAN = [
    {"title": "Implement code", "owner": "Developer"},
    {"title": "Write docs", "owner": "Writer", "depends_on": [1]},
]
HALF_AN_HOUR = 1800.0


def team(*developers: Any, **more: Any) -> Any:
    return team_of(PLAN, {"Developer": list(developers), "Writer": {}}, lead=lead_of(PLAN), **more)


def run(team: Any, settle: float = 0.0) -> WorkflowReport:
    async def main(clock: Any) -> WorkflowReport:
        report: WorkflowReport = await team.run(AUTH)
        await clock.sleep(settle)
        return report

    return virtual(main)


class Deaf:
    """Does not listen when it is cancelled, and answers after *seconds*."""

    def __init__(self, seconds: float, cost: float) -> None:
        self.name = "Developer"
        self._seconds = seconds
        self._cost = cost

    async def chat(self, message: str) -> Any:
        clock = present_clock()
        until = clock.monotonic() + self._seconds
        while clock.monotonic() < until:
            try:
                await clock.sleep(until - clock.monotonic())
            except asyncio.CancelledError:
                continue
        return Said("- much too late", cost=self._cost)


@pytest.mark.spec("W9")
def test_a_silent_developer_is_replaced_and_the_plan_is_late_by_what_it_cost() -> None:
    silent = Speaker("Developer", "never said", seconds=10 * HALF_AN_HOUR)
    backup = Speaker("Developer", "- done", seconds=300.0)
    report = run(team(silent, backup))
    assert report.success and report.escalations == ()
    (recovery,) = report.recoveries
    assert (recovery.instance, recovery.backup) == ("Developer", "Developer-2")
    assert recovery.reason == "Timeout (agent took >30min)"
    assert tuple(action.kind for action in recovery.actions) == ACTIONS
    told = [entry.kind for entry in report.trace if entry.kind in ACTIONS]
    assert tuple(told) == ACTIONS
    assert recovery.delay_seconds == report.delay_seconds == 300.0
    began = report.steps[0].started_at
    assert began is not None
    late = timedelta(seconds=300)
    assert report.steps[0].due_at == began + timedelta(seconds=HALF_AN_HOUR) + late == report.steps[0].finished_at
    assert report.steps[1].due_at == began + 2 * timedelta(seconds=HALF_AN_HOUR) + late
    text = recovery_text(recovery)
    assert "Reason: Timeout (agent took >30min)" in text
    assert text.endswith("Recovery Result: Task completed by backup agent\nTotal delay: 5 minutes")
    first, second, _ = report.messages
    assert (first.message_id, second.message_id) == ("msg_1", "msg_2")
    assert first.task == second.task and first.to_agent == second.to_agent
    assert report.metrics["orchestrator"]["tasks_delegated"] == 3


@pytest.mark.spec("W9")
def test_an_answer_that_comes_too_late_counts_in_the_cost_and_in_nothing_else() -> None:
    deaf = Deaf(HALF_AN_HOUR + 100, cost=0.25)
    backup = Speaker("Developer", "- done", seconds=300.0, cost=0.5)
    report = run(team(deaf, backup))
    assert report.success and report.steps[0].instance == "Developer-2"
    assert report.steps[0].delivery is not None and report.steps[0].delivery.outputs == ("done",)
    (late,) = [entry for entry in report.trace if entry.kind == "late_answer"]
    assert late.instance == "Developer" and "much too late" in late.output[0]
    assert sum(call.success for call in report.calls if call.kind == "work" and call.step_id == "1") == 1
    assert report.total_cost == 0.75
    assert report.steps[0].usage.cost == 0.75


@pytest.mark.spec("W10")
def test_without_a_backup_it_is_escalated() -> None:
    report = run(team(Speaker("Developer", "never", seconds=10 * HALF_AN_HOUR)))
    reason = "no other Developer instance: 1 tried, last: Timeout (agent took >30min)"
    assert not report.success and report.steps[0].error == reason
    assert [escalation.reason for escalation in report.escalations] == [reason]
    assert report.steps[1].status == "skipped"
    (recovery,) = report.recoveries
    assert recovery.backup is None and recovery.result == "No backup agent: escalated"
    assert [entry.kind for entry in report.trace if entry.kind == "escalated"]


@pytest.mark.spec("W10")
def test_a_backup_that_fails_too() -> None:
    broken = Speaker("Developer", ConnectionError("the line is dead"))
    report = run(team(Speaker("Developer", "never", seconds=10 * HALF_AN_HOUR), broken))
    assert [recovery.backup for recovery in report.recoveries] == ["Developer-2", None]
    assert len(report.escalations) == 1
    assert report.steps[0].error == "no other Developer instance: 2 tried, last: ConnectionError: the line is dead"


def test_who_says_that_he_is_unhealthy_is_not_given_the_task() -> None:
    class Ill(Speaker):
        async def health(self) -> str:
            return "overloaded"

    ill, well = Ill("Ill", "- done"), Speaker("Well", "- done")
    report = run(team(Speaker("Developer", RuntimeError("no")), ill, well))
    assert report.steps[0].instance == "Well" and ill.calls.made == []


def test_health_that_is_never_told_holds_nothing_up() -> None:
    class Stuck(Speaker):
        async def health(self) -> str:
            await asyncio.get_running_loop().create_future()
            return "never"

    report = run(team(Stuck("Developer", RuntimeError("no")), Speaker("Developer", "- done")))
    assert report.success
    assert "unhealthy" in report.recoveries[0].actions[0].text
