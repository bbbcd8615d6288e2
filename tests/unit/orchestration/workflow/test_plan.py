"""Plans: the two forms of the lead, the list, what is refused, and what waits for what."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.plan import Plan, read_plan
from shoal.orchestration.workflow.planlines import task_type_of

ROLES = ("Researcher", "Developer", "Reviewer")
LIST = """1. Analyze requirements → Need Researcher
2. Design architecture → Orchestrator (self)
3. Implement code → Need Developer
4. Write tests → Need Developer
5. Security review → Need Reviewer
6. Performance check → Need Developer
7. Final review → Need Reviewer"""
OWNERS = ["Researcher", LEAD, "Developer", "Developer", "Reviewer", "Developer", "Reviewer"]
TITLES = [line.split(". ")[1].split(" →")[0] for line in LIST.splitlines()]


def _step(step_id: str, *depends_on: str, **fields: Any) -> WorkStep:
    fields = {"title": f"Step {step_id}", "owner": "Developer", **fields}
    return WorkStep(id=step_id, depends_on=depends_on, **fields)


def _read(items: list[Any], most: int = 50) -> Plan:
    return read_plan(json.dumps(items), ROLES, most)


@pytest.mark.spec("W2")
def test_the_list_of_lines_is_a_plan_and_comes_back_as_it_was() -> None:
    plan = read_plan(f"Here is my plan:\n\n{LIST}\n\nI hope it helps.", ROLES, 50)
    assert plan.to_text() == LIST
    assert [step.owner for step in plan.steps] == OWNERS
    assert [step.id for step in plan.steps] == list("1234567")
    assert [step.depends_on for step in plan.steps] == [(), *((each,) for each in "123456")]
    types = ["research", "design", "implementation", "testing", "review", "check", "review"]
    assert [step.task_type for step in plan.steps] == types
    assert Plan.from_text(LIST) == plan


@pytest.mark.spec("W2")
@pytest.mark.parametrize("form", ["{}", "Sure:\n```json\n{}\n```\nDone.", "[] and [1, 2], then {} so far"])
def test_an_array_of_steps_is_a_plan_and_has_the_same_list(form: str) -> None:
    owners = ["researcher", "self", "Developer", " DEVELOPER ", "Reviewer", "Developer", "Reviewer"]
    items = [{"title": title, "owner": owner} for title, owner in zip(TITLES, owners, strict=True)]
    plan = read_plan(form.replace("{}", json.dumps(items, indent=1)), ROLES, 50)
    assert plan.to_text() == LIST
    assert [step.owner for step in plan.steps] == OWNERS
    assert all(not step.depends_on for step in plan.steps)


def test_all_fields_of_a_step_are_read() -> None:
    (_, step) = _read([
        {"id": 7, "title": "a", "owner": "Developer"},
        {
            "id": "build", "title": "Build  it\n", "owner": "Orchestrator (self)", "task_type": "Design", "depends_on": [7],
            "reviews": ["7"], "requirements": ["fast"], "expected_output": {"files": ["a.py"], "coverage": 80},
            "estimate_seconds": 90, "task": "do it", "context": "all of it", "unknown": 1,
        },
    ]).steps  # fmt: skip
    assert step == WorkStep(
        id="build",
        title="Build it",
        owner=LEAD,
        task_type="design",
        depends_on=("7",),
        reviews=("7",),
        requirements=("fast",),
        expected_output=ExpectedOutput(files=("a.py",), coverage="80"),
        estimate_seconds=90.0,
        task="do it",
        context="all of it",
    )


def test_bold_numbers_names_and_arrows_of_lines_are_understood() -> None:
    text = (
        "**1.** **Look at a -> b** -> *Need researcher*\n- 2) Fix `x` -> need `Developer` (backend)\n3. **End → SELF**"
    )
    plan = read_plan(text, ROLES, 50)
    assert [(step.title, step.owner) for step in plan.steps] == [
        ("Look at a -> b", "Researcher"),
        ("Fix `x`", "Developer"),
        ("End", LEAD),
    ]


def test_lists_of_something_else_are_no_steps() -> None:
    plan = read_plan(f"I think:\n1. it is hard\n2. it is long\n\n{LIST}\n\nNotes:\n1. none", ROLES, 50)
    assert plan.to_text() == LIST


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no step"),
        ("I cannot plan this.", "there is no step"),
        ("[]", "there is no step"),
        ("1. a → Need Developer\n2. b\n3. c → Need Developer", "step 2 names no owner: 2. b"),
        ("1. a → ", "step 1 names no owner"),
        ("1. a → Need Tester", "step 1: owner 'Tester' is not one of Researcher, Developer, Reviewer, Orchestrator"),
    ],
)
def test_lines_that_are_no_plan_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="step") as refused:
        read_plan(text, ROLES, 50)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([{"title": "a"}], "step 1: owner: missing"),
        ([{"owner": "Developer"}], "step 1: title: missing"),
        ([{"title": 3, "owner": "Developer"}], "step 1: title: no text"),
        ([{"title": "a", "owner": "Developer"}, "b"], "step 2: 'b' is no object"),
        ([{"title": "a", "owner": "Developer", "id": "a/b"}], "step 'a/b': an id must be a number or a word"),
        ([{"title": "a", "owner": "Developer", "id": 1}] * 2, "the id '1' is used by two steps"),
        ([{"title": "a", "owner": "Developer", "depends_on": [9, 12]}], "step 1: it depends on 9, 12, and there is no"),
        ([{"title": "a", "owner": "Developer", "reviews": [9]}], "step 1: it depends on 9, and there is no"),
        ([{"title": "a", "owner": "Developer", "depends_on": 1}], "steps wait for each other: 1 -> 1"),
        ([{"title": "a", "owner": "Developer", "estimate_seconds": "soon"}], "estimate_seconds: 'soon' is no number"),
        ([{"title": "a", "owner": "Developer", "expected_output": "x"}], "step 1: expected_output: 'x' is no object"),
        (
            [{"title": "a", "owner": "Developer", "expected_output": {"coverage": "lots"}}],
            "step 1: expected_output: coverage='lots': it must be a number",
        ),
        ([{"title": "a", "owner": "Developer"}] * 51, "the plan has 51 steps, the limit is 50"),
        ([{"title": "a"}] * 30, "and 20 more"),
    ],
)
def test_an_array_that_is_no_plan_is_refused_with_the_reason(items: list[Any], reason: str) -> None:
    with pytest.raises(ValueError, match=r"step|id") as refused:
        _read(items)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task_type": " "}, "step 1: task_type: missing"),
        ({"estimate_seconds": 1e18}, "step 1: estimate_seconds: 1e+18 is no number"),
        ({"estimate_seconds": float("nan")}, "step 1: estimate_seconds: nan is no number"),
        ({"estimate_seconds": -5.0}, "step 1: estimate_seconds: -5.0 is no number"),
    ],
)
def test_a_step_that_could_not_be_given_or_timed_is_refused_before_the_run(fields: dict[str, Any], reason: str) -> None:
    plan = Plan((WorkStep(id="1", title="Do it", owner="Developer", **fields),))
    with pytest.raises(ValueError, match="step 1") as refused:
        plan.check(ROLES, 50)
    assert str(refused.value).startswith(reason)


def test_an_unknown_owner_a_cycle_and_the_limit_are_named() -> None:
    with pytest.raises(ValueError) as refused:
        Plan((_step("1"), _step("2"), _step("3", owner="Tester"))).check(ROLES, 50)
    assert str(refused.value) == "step 3: owner 'Tester' is not one of Researcher, Developer, Reviewer, Orchestrator"
    with pytest.raises(ValueError, match=r"2 -> 4 -> 2$"):
        Plan((_step("1"), _step("2", "1", "4"), _step("3"), _step("4", "2"), _step("5", "4"))).check(ROLES, 50)
    with pytest.raises(ValueError, match=r"1 -> 2 -> 3 -> 1$"):
        Plan((_step("1", "3"), _step("2", "1"), _step("3", "2"))).check(ROLES, 50)
    with pytest.raises(ValueError, match="no steps"):
        Plan().check(ROLES, 50)
    with pytest.raises(ValueError, match="must be a list of WorkSteps"):
        Plan(("a",))  # type: ignore[arg-type]


def test_the_order_keeps_the_plans_order_where_nothing_waits() -> None:
    plan = Plan((_step("a", "d"), _step("b"), _step("c", "b"), _step("d"), _step("e")))
    assert plan.order == ("b", "c", "d", "a", "e")
    assert plan.dependents("d") == ("a",)
    assert plan.dependents("b") == ("c",)
    assert plan.dependents("unknown") == ()


def test_dependents_are_found_through_others() -> None:
    plan = Plan.from_text(LIST.replace("Orchestrator (self)", "self"))
    assert plan.dependents("4") == ("5", "6", "7")
    assert plan.dependents("7") == ()


def test_what_a_review_looks_at() -> None:
    review = _step("4", "1", "2", task_type="review")
    plan = Plan((_step("1"), _step("2"), _step("3"), review, _step("5")))
    assert plan.works_of(msgspec.structs.replace(review, reviews=("3",)), ["1"]) == ("3",)
    assert plan.works_of(review, ["1", "2", "3", "5"]) == ("1", "2")
    assert plan.works_of(review, ["2"]) == ("2",)
    assert plan.works_of(review, ["3", "5"]) == ("3",)
    assert plan.works_of(review, []) == ()


def test_a_review_waits_for_what_it_reviews() -> None:
    plan = Plan((_step("1"), _step("2", task_type="review", reviews=("1",))))
    assert plan.steps[1].depends_on == ("1",)
    assert Plan(plan.steps) == plan


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Code REVIEW", "review"),
        ("Preview the page", "work"),
        ("Use the latest version", "work"),
        ("Unit testing of code", "testing"),
        ("Analyse the market", "research"),
        ("Investigate", "research"),
        ("Developing and design", "implementation"),
        ("Design", "design"),
        ("Check speed", "check"),
        ("Deploy", "work"),
    ],
)
def test_the_type_of_a_step_is_told_by_its_title(title: str, kind: str) -> None:
    assert task_type_of(title) == kind


WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
TITLE = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@st.composite
def plans(draw: Callable[..., Any]) -> Plan:
    steps: list[WorkStep] = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        before = [step.id for step in steps]
        after = draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        owner, title = draw(st.sampled_from([*ROLES, LEAD])), draw(TITLE)
        kind = task_type_of(title)  # what is left out in JSON is told by the title
        steps.append(WorkStep(id=str(number), title=title, owner=owner, task_type=kind, depends_on=tuple(after)))
    return Plan(tuple(steps))


@given(plans())
def test_a_plan_comes_back_from_json_and_its_titles_and_owners_from_its_list(plan: Plan) -> None:
    assert read_plan(f"Plan: {msgspec.json.encode(plan.steps).decode()}", ROLES, 50) == plan
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    again = read_plan(plan.to_text(), ROLES, 50)
    assert [(step.title, step.owner) for step in again.steps] == [(step.title, step.owner) for step in plan.steps]
    assert again.to_text() == plan.to_text()


@given(plans())
def test_an_order_has_every_step_once_and_after_what_it_depends_on(plan: Plan) -> None:
    places = {step_id: place for place, step_id in enumerate(plan.order)}
    assert set(places) == {step.id for step in plan.steps}
    assert len(plan.order) == len(plan.steps)
    for step in plan.steps:
        assert all(places[each] < places[step.id] for each in step.depends_on)
        assert all(places[each] > places[step.id] for each in plan.dependents(step.id))


JSONISH = st.text(st.sampled_from(list('[]{}":,`~\n 1.→-> title owner')), max_size=200)


@given(st.one_of(JSONISH, st.text(max_size=300)))
def test_whatever_the_lead_says_is_a_plan_or_a_reason(text: str) -> None:
    try:
        plan = read_plan(text, ROLES, 50)
    except ValueError as error:
        assert str(error)
    else:
        plan.check(ROLES, 50)


@pytest.mark.parametrize(
    "piece", ["[", "[{", '[{"a":', "[]", '[{"title":"', "1. a -> b\n", "1. ", "-> ", "[[{", "[ \n"]
)
def test_a_long_text_is_read_in_linear_time(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    with pytest.raises(ValueError, match="step"):
        read_plan(text, ROLES, 50)
    assert time.process_time() - began < 3.0  # quadratic work would take minutes
