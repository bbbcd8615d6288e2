"""Reviews at once, of one work, of words, and of a team in a team: no issue and no fix is lost, whoever is quicker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shoal.orchestration import Orchestrator
from shoal.orchestration.workflow.report import WorkflowReport
from tests.support.replay import Lives, check_every_death, check_many_deaths
from tests.support.speakers import Calls, Speaker, virtual
from tests.support.workteam import AUTH, files_reply, lead_of, team_of


def shown(prompt: str) -> list[str]:
    """Return the ids of the issues that a reviewer is shown."""
    return re.findall(r"- (R\d+) ", prompt.split("All issues so far:")[-1])


def reviewing(title: str, issue_id: str = "") -> Callable[[str], str]:
    """Return a reviewer that finds one thing, and is content when it is asked again."""

    def review(prompt: str) -> str:
        if title in prompt.split("All issues so far:")[-1]:
            return json.dumps({"score": 95, "approved": True, "resolved": shown(prompt)})
        issue = {"severity": "HIGH", "title": title, **({"id": issue_id} if issue_id else {})}
        return json.dumps({"score": 95, "approved": True, "issues": [issue]})

    return review


# -- reviews at once

TWO_WORKS = [
    {"id": "w", "title": "Words", "owner": "Writer"},
    {"id": "p", "title": "Pictures", "owner": "Painter"},
    {"id": "a", "title": "Style review", "owner": "Stylist", "reviews": ["w"]},
    {"id": "b", "title": "Facts review", "owner": "Checker", "reviews": ["p"]},
]


def two_works(
    style: float, facts: float, titles: tuple[str, str], issue_id: str = ""
) -> Callable[[Calls], Orchestrator]:
    def make(calls: Calls) -> Orchestrator:
        roles = {
            "Writer": Speaker("Writer", files_reply({"w.md": "text\n"}), calls),
            "Painter": Speaker("Painter", files_reply({"p.svg": "picture\n"}), calls),
            "Stylist": Speaker("Stylist", reviewing(titles[0], issue_id), calls, seconds=style),
            "Checker": Speaker("Checker", reviewing(titles[1], issue_id), calls, seconds=facts),
        }
        return team_of(TWO_WORKS, roles, lead=lead_of(TWO_WORKS, calls))

    return make


@pytest.mark.parametrize("titles", [("A typo", "A typo"), ("A typo", "A slip")])
@pytest.mark.parametrize("issue_id", ["", "R1"])
def test_reviews_at_once_do_not_take_each_others_issues_for_theirs(titles: tuple[str, str], issue_id: str) -> None:
    """Whoever is quicker: what both find is open, under ids of its own, until the one who found it closes it."""
    for style, facts in ((1.0, 2.0), (2.0, 1.0)):
        make = two_works(style, facts, titles, issue_id)
        report: WorkflowReport = Lives(make, AUTH).live().result
        assert report.ready and report.warnings == ()
        found = {(issue.opened_by, issue.title, issue.status) for issue in report.issues}
        assert found == {("Stylist", titles[0], "resolved"), ("Checker", titles[1], "resolved")}
        assert {issue.id for issue in report.issues} == {"R1", "R2"}
        assert [record.reworks for record in report.steps] == [1, 1, 0, 0]


@pytest.mark.spec("W11")
def test_reviews_at_once_keep_the_ids_of_their_issues_over_any_death() -> None:
    make = two_works(1.0, 2.0, ("A typo", "A typo"))
    expected = _issues(Lives(make, AUTH).live().result)
    deaths = 0
    while True:
        lives = Lives(make, AUTH)
        first = lives.live(2 * deaths + 1)
        if first.result is not None:
            break
        deaths += 1
        recorded = {key: output for key, (_, output) in lives.steps.items() if "/issues" in key}
        report = lives.live(shuffle=True).result
        assert _issues(report) == expected, first.points[-1]
        again = {key: output for key, (_, output) in lives.steps.items() if "/issues" in key}
        assert recorded.items() <= again.items() and len({output[0] for output in again.values() if output}) == 2
    assert deaths > 20


def _issues(report: WorkflowReport) -> Any:
    return report.ready, sorted((issue.title, issue.opened_by, issue.status) for issue in report.issues)


ONE_WORK = [
    {"id": "w", "title": "Words", "owner": "Writer"},
    {"id": "a", "title": "Style review", "owner": "Stylist", "depends_on": ["w"]},
    {"id": "b", "title": "Facts review", "owner": "Checker", "reviews": ["w"]},
]


def one_work(calls: Calls) -> Orchestrator:
    def write(prompt: str) -> str:
        if "was reviewed" not in prompt:
            return files_reply({"w.md": "text\n"})
        base = prompt.split("FILE: w.md")[1]
        known = [word for word in ("styled", "checked") if re.search(rf"^{word}$", base, re.MULTILINE)]
        word = "styled" if "style issues" in prompt else "checked"
        return files_reply({"w.md": "\n".join(["text", *known, word]) + "\n"})

    roles = {
        "Writer": Speaker("Writer", write, calls, seconds=1.0),
        "Stylist": Speaker("Stylist", reviewing("A typo"), calls, seconds=2.0),
        "Checker": Speaker("Checker", reviewing("A slip"), calls, seconds=1.0),
    }
    return team_of(ONE_WORK, roles, lead=lead_of(ONE_WORK, calls))


def test_of_two_reviews_of_one_work_no_fix_is_lost() -> None:
    report: WorkflowReport = Lives(one_work, AUTH).live().result
    assert report.ready and report.files == {"w.md": "text\nstyled\nchecked\n"}
    assert report.plan[2].depends_on == ("w", "a"), "one after the other"
    assert check_every_death(one_work, AUTH) > 40


def test_a_review_of_words_sends_them_back() -> None:
    plan = [
        {"title": "Look", "owner": "Researcher"},
        {"title": "Facts review", "owner": "Reviewer", "depends_on": [1]},
    ]
    told: list[str] = []

    def research(prompt: str) -> str:
        told.append(prompt)
        return "- better findings" if "was reviewed" in prompt else "- findings"

    roles = {"Researcher": {"": research}, "Reviewer": Speaker("Reviewer", reviewing("No source"))}
    report: WorkflowReport = virtual(lambda clock: team_of(plan, roles).run(AUTH))
    assert report.ready and report.steps[0].reworks == 1 and "No source" in told[1]


# -- teams in teams, and names


def nested(calls: Calls) -> Orchestrator:
    inside = [{"title": "In", "owner": "Dev"}, {"title": "In review", "owner": "Rev", "depends_on": [1]}]
    dev, rev = Speaker("D", files_reply({"a.py": "x = 1\n"}), calls), Speaker("R", reviewing("A typo"), calls)
    inner = team_of(inside, {"Dev": dev, "Rev": rev}, lead=lead_of(inside, calls), name="Inner")
    plan = [
        {"title": "Out", "owner": "Team"},
        {"title": "Out review", "owner": "Rev", "depends_on": [1]},
        {"title": "More", "owner": "Docs/s1: 100%", "depends_on": [2]},
    ]
    odd = Speaker("a/b: %2F/s1", "- ok", calls)
    roles = {"Team": [inner], "Rev": Speaker("R", reviewing("A slip"), calls), "Docs/s1: 100%": [odd]}
    return team_of(plan, roles, lead=lead_of(plan, calls))


@pytest.mark.spec("W11")
def test_a_team_in_a_team_keeps_ids_of_its_own_over_deaths() -> None:
    report: WorkflowReport = Lives(nested, AUTH).live().result
    assert report.ready, report.not_ready
    assert [message.message_id for message in report.messages] == [f"msg_{number}" for number in range(1, 6)]
    check_many_deaths(nested, AUTH, [5, 17, 3, 23, 11, 2, 9, 14])
    for point in range(10, 120, 7):
        check_many_deaths(nested, AUTH, [point])
