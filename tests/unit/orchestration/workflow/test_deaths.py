"""A team whose program dies, at every point of its run: what was recorded is not asked again, and the report is the same."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.report import WorkflowReport
from tests.support.replay import Lives, check_every_death, check_many_deaths, without_times
from tests.support.speakers import Calls, Speaker
from tests.support.workteam import AUTH, auth_team, files_reply, lead_of, team_of


@pytest.mark.spec("W11")
def test_a_death_at_every_point_of_the_documents_task() -> None:
    assert check_every_death(auth_team, AUTH) > 60


@pytest.mark.spec("W11")
def test_many_deaths_of_one_run() -> None:
    check_many_deaths(auth_team, AUTH, [3, 5, 2, 9, 1, 4, 7, 6, 11, 3, 8])


PARALLEL = [
    *({"id": f"w{number}", "title": f"Part {number}", "owner": "Writer"} for number in range(5)),
    {"id": "r", "title": "Style review", "owner": "Reviewer", "reviews": ["w0", "w1", "w2", "w3", "w4"]},
]


def parallel_team(calls: Calls) -> Any:
    def part(name: str) -> Any:
        return lambda prompt: files_reply({f"{name}.md": "text\n"}, outputs=[f"by {name}"])

    writers = [Speaker("Writer", part("any"), calls, seconds=seconds) for seconds in (3.0, 1.0, 2.0)]
    reviewer = Speaker("Reviewer", '{"score": 95, "approved": true}', calls)
    return team_of(
        PARALLEL,
        {"Writer": writers, "Reviewer": reviewer},
        lead=lead_of(PARALLEL, calls),
        config=OrchestratorConfig(max_parallel=3),
    )


def what_came_of_it(report: WorkflowReport) -> Any:
    """Return what does not depend on who was free first."""
    return [(record.step.id, record.status, record.delivery and record.delivery.files) for record in report.steps]


@pytest.mark.spec("W11")
@pytest.mark.parametrize("shuffle", [False, True])
def test_steps_beside_each_other_are_given_to_the_same_agents_again(shuffle: bool) -> None:
    expected = what_came_of_it(Lives(parallel_team, AUTH).live(shuffle=shuffle).result)
    deaths = 0
    while True:
        lives = Lives(parallel_team, AUTH)
        first = lives.live(deaths + 1, shuffle=shuffle)
        if first.result is not None:
            break
        deaths += 1
        before = dict(lives.steps)
        report = lives.live(shuffle=not shuffle).result
        where = f"died at point {deaths}: {first.points[-1]}"
        assert what_came_of_it(report) == expected, where
        assert before.items() <= lives.steps.items(), where
        assert not [place for place in lives.calls.places(life=2) if f"{place}/chat" in before], where
        assert sorted(message.message_id for message in report.messages) == [f"msg_{n}" for n in range(1, 7)], where
    assert deaths > 20


def failing_team(calls: Calls) -> Any:
    plan = [
        {"title": "Implement code", "owner": "Developer"},
        {"title": "Write docs", "owner": "Writer", "depends_on": [1]},
    ]
    silent = Speaker("Developer", "too late", calls, seconds=4000.0)
    backup = Speaker("Developer", files_reply({"a.py": "x = 1\n"}), calls, seconds=300.0)
    return team_of(
        plan, {"Developer": [silent, backup], "Writer": Speaker("Writer", "- done", calls)}, lead=lead_of(plan, calls)
    )


@pytest.mark.spec("W11")
def test_killed_between_time_out_and_re_assignment_there_is_one_re_assignment() -> None:
    check_every_death(failing_team, AUTH)
    lives = Lives(failing_team, AUTH)
    points = Lives(failing_team, AUTH).live().points
    at = next(place for place, name in enumerate(points, start=1) if name.endswith("w1:health recorded"))
    assert lives.live(at).result is None
    report = lives.live().result
    assert len(report.recoveries) == 1 and report.recoveries[0].backup == "Developer-2"
    assert [message.message_id for message in report.messages] == ["msg_1", "msg_2", "msg_3"]
    assert without_times(report)["recoveries"] == without_times(Lives(failing_team, AUTH).live().result)["recoveries"]
