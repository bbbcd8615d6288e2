"""Steps beside each other end in another order in each life of a run: what those after them are asked is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from shoal.kernel.starting import present_clock
from shoal.orchestration.workflow.config import OrchestratorConfig
from tests.support.replay import Lives, Make
from tests.support.speakers import Calls, Speaker
from tests.support.workteam import AUTH, files_reply, lead_of, team_of, title_in

OK = json.dumps({"score": 95, "approved": True})


class Unequal(Speaker):
    """Takes its own time for each task, by the title of it."""

    def __init__(self, name: str, answer: Any, calls: Calls, times: Mapping[str, float]) -> None:
        super().__init__(name, answer, calls)
        self._times = times

    async def chat(self, message: str) -> Any:
        await present_clock().sleep(self._times.get(title_in(message), 0.0))
        return await super().chat(message)


def check_every_end(make: Make) -> None:
    """Let a run die at every point: it goes on, and each step that was asked before is asked the same."""
    whole = Lives(make, AUTH)
    last = whole.live()
    assert last.result.success, last.result.error
    for at in range(1, len(last.points) + 1):
        lives = Lives(make, AUTH)
        assert lives.live(at).result is None
        before = dict(lives.steps)
        report = lives.live().result
        assert report.success, f"{last.points[at - 1]}: {report.error}"
        assert before.items() <= lives.steps.items(), last.points[at - 1]


def failing_pair(calls: Calls) -> Any:
    plan = [
        {"id": "a", "title": "Part a", "owner": "Writer"},
        {"id": "b", "title": "Part b", "owner": "Author"},
        {"id": "c", "title": "Join", "owner": "Editor", "depends_on": ["a", "b"]},
    ]

    def pair(name: str, seconds: float) -> list[Any]:
        return [Speaker(name, RuntimeError("no"), calls, seconds=seconds), Speaker(name, "- done", calls)]

    roles = {"Writer": pair("Writer", 7.0), "Author": pair("Author", 1.0), "Editor": Speaker("Editor", "- done", calls)}
    return team_of(plan, roles, lead=lead_of(plan, calls))


REVIEWS: list[dict[str, Any]] = [
    {"id": "a", "title": "Part a", "owner": "Writer"},
    {"id": "b", "title": "Part b", "owner": "Writer"},
    {"id": "ra", "title": "Review a", "owner": "Reviewer", "depends_on": ["a"], "task_type": "review"},
    {"id": "rb", "title": "Review b", "owner": "Reviewer", "depends_on": ["b"], "task_type": "review"},
]
LAST: dict[str, Any] = {
    "id": "z",
    "title": "Review all",
    "owner": "Reviewer",
    "depends_on": ["ra", "rb"],
    "task_type": "review",
}


def writers(calls: Calls) -> list[Any]:
    def part(prompt: str) -> str:
        return files_reply({f"{title_in(prompt)[-1]}.py": "x = 1\n"})

    return [Speaker("Writer", part, calls) for _ in range(2)]


def reviewers(calls: Calls, say: Any) -> list[Any]:
    return [Unequal("Reviewer", say, calls, {"Review a": 7.0}) for _ in range(2)]


def found_in_both(calls: Calls, *more: Any) -> Any:
    def say(prompt: str) -> str:
        title = title_in(prompt)
        if title == "Review all":
            return OK
        issue = {"severity": "LOW", "title": f"A thing in {title}"}
        return json.dumps({"score": 95, "approved": True, "issues": [issue]})

    plan = [*REVIEWS, *more]
    return team_of(
        plan,
        {"Writer": writers(calls), "Reviewer": reviewers(calls, say)},
        lead=lead_of(plan, calls),
        config=OrchestratorConfig(blocking=("HIGH",)),
    )


def decided_in_both(calls: Calls) -> Any:
    plan = [*REVIEWS[:2], {"id": "c", "title": "Join", "owner": "Editor", "depends_on": ["a", "b"]}]

    def write(prompt: str) -> str:
        if '"description"' not in prompt:
            return json.dumps({"statement": "So it is", "evidence": ["seen"]})
        topic = f"The way of {title_in(prompt)}"
        objection = {"topic": topic, "statement": f"{topic} is long", "evidence": ["measured"]}
        return json.dumps({"summary": "done", "objections": [objection]})

    def lead(prompt: str) -> Any:
        if prompt.startswith("Resolve"):
            return json.dumps({"decision": "As it is", "winner": "Writer"})
        if prompt.startswith("You lead"):
            return json.dumps(plan)
        return json.dumps({"statement": "It is short", "evidence": ["measured"]})

    some = [Unequal("Writer", write, calls, {"Part a": 7.0}) for _ in range(2)]
    roles = {"Writer": some, "Editor": Speaker("Editor", "- done", calls)}
    return team_of(plan, roles, lead=Speaker("Lead", lead, calls))


def named_again(calls: Calls) -> Any:
    """A review finds an issue and closes it; one of two later reviews at once names it again, and closes it."""
    plan = [
        {"id": "0", "title": "Part 0", "owner": "Writer"},
        {"id": "r0", "title": "Review 0", "owner": "Reviewer", "depends_on": ["0"], "task_type": "review"},
        *({**each, "depends_on": each.get("depends_on", ["r0"])} for each in REVIEWS),
    ]

    def say(prompt: str) -> str:
        title = title_in(prompt)
        if title == "Review a" or "R1 HIGH [open]" in prompt:
            return json.dumps({"score": 95, "approved": True, "resolved": [] if title == "Review a" else ["R1"]})
        return json.dumps({"score": 80, "issues": [{"severity": "HIGH", "title": "No tests"}]})

    times = {"Review a": 7.0, "Review b": 2.0, "Part b": 1.0}
    some = [Unequal("Reviewer", say, calls, times) for _ in range(2)]
    authors = [
        Unequal(
            "Writer",
            lambda prompt: files_reply({f"{title_in(prompt)[-1]}.py": "x = 1\n"}),
            calls,
            {"Part a": 4.0, "Fix the issues of: Review b": 9.0},
        )
        for _ in range(2)
    ]
    return team_of(plan, {"Writer": authors, "Reviewer": some}, lead=lead_of(plan, calls))


@pytest.mark.parametrize(
    "make",
    [
        failing_pair,
        lambda calls: found_in_both(calls, LAST),
        found_in_both,
        decided_in_both,
        named_again,
    ],
    ids=["delays", "issues of a review after both", "issues of the summary", "decisions", "an issue named again"],
)
def test_what_is_asked_does_not_depend_on_who_was_first(make: Make) -> None:
    check_every_end(make)
