"""Reading plans: what stands in a planner's answer, and what is left out of it."""

from __future__ import annotations

import json
import time

import pytest

from shoal.kernel.asking_people import canonical
from shoal.orchestration.plans import EMPTY, MOST_CANDIDATES, NOT_THERE, read_plan
from shoal.orchestration.results import WorkerTask

WORKERS = ("A", "B")
ONE = '[{"worker": "A", "task": "do"}]'


def _tasks(text: str, iteration: int = 1) -> list[tuple[str, str]]:
    return [(task.worker_name, task.task) for task in read_plan(text, WORKERS, iteration).tasks]


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        f"Here is the plan:\n```json\n{ONE}\n```\nGood luck [all of you]!",
        f"See [1] and [2, 3]. {ONE}",
        f"An empty one is [], mine is {ONE}.",
        f'{{"plan": {ONE}}}',
        f"[{ONE}]",
        f"[half an array {ONE}",
        f'[{{"worker": "A"}}] {ONE}',
        f"[{'9' * 5000}] {ONE}",
        f"{'[' * 500} {ONE}",
        f"[NaN, Infinity] {ONE}",
    ],
)
def test_the_plan_is_found_anywhere_in_the_text(text: str) -> None:
    plan = read_plan(text, WORKERS, 1)
    assert (plan.tasks, plan.problem, plan.warnings) == ((WorkerTask(worker_name="A", task="do"),), "", ())


def test_brackets_in_brackets_do_not_overflow() -> None:
    assert read_plan("[" * 500_000, WORKERS, 1).problem == NOT_THERE
    assert read_plan("[" * (MOST_CANDIDATES + 1) + ONE, WORKERS, 1).problem == NOT_THERE


def test_half_arrays_do_not_hold_up_the_loop() -> None:
    began = time.process_time()
    assert read_plan("[" * 300 + "1," * 3_000_000, WORKERS, 1).problem == NOT_THERE
    assert time.process_time() - began < 10


def test_the_first_array_with_an_assignment_is_the_plan() -> None:
    assert _tasks(f'[{{"worker": "B", "task": "first"}}] {ONE}') == [("B", "first")]


@pytest.mark.parametrize(
    "text", ["", "no plan", '{"worker": "A", "task": "do"}', "[1, 2]", '["A"]', '[{"task": "do"}]']
)
@pytest.mark.parametrize("iteration", [1, 2])
def test_no_array_of_assignments_is_a_problem(text: str, iteration: int) -> None:
    assert read_plan(text, WORKERS, iteration).problem == NOT_THERE
    assert NOT_THERE == "there is no JSON array of objects with worker and task in it"


def test_an_empty_array_means_done_once_something_was_done() -> None:
    assert read_plan("[]", WORKERS, 1).problem == EMPTY == "it is empty, and nothing is done yet"
    done = read_plan("Enough: [ ]", WORKERS, 2)
    assert (done.tasks, done.problem) == ((), "")


def test_all_fields_are_read_and_sorted_by_priority_then_order() -> None:
    text = json.dumps(
        [
            {"worker": "A", "task": " late ", "priority": 3, "reason": " last of all "},
            {"worker": " B ", "task": "soon", "context": "the facts", "priority": "2"},
            {"worker": "A", "task": "soon, too", "context": {"k": ["ü"]}, "priority": 2.0, "reason": 7},
            {"worker": "B", "task": "first", "context": None, "priority": None},
        ]
    )
    plan = read_plan(text, WORKERS, 2)
    assert plan.tasks == (
        WorkerTask(worker_name="B", task="first", iteration=2),
        WorkerTask(worker_name="B", task="soon", context="the facts", priority=2, iteration=2),
        WorkerTask(worker_name="A", task="soon, too", context='{"k": ["ü"]}', priority=2, iteration=2),
        WorkerTask(worker_name="A", task="late", priority=3, iteration=2),
    )
    assert (plan.reasons, plan.warnings) == ((("A", "last of all"),), ())


@pytest.mark.parametrize("priority", [True, "soon", 1.5, [1], 10**30, float("nan"), "inf"])
def test_a_priority_that_is_none_counts_as_1(priority: object) -> None:
    plan = read_plan(json.dumps([{"worker": "A", "task": "do", "priority": priority}]), WORKERS, 1)
    assert [task.priority for task in plan.tasks] == [1]
    (warning,) = plan.warnings
    assert warning.startswith("the priority ") and warning.endswith(" of A is no whole number: it counts as 1")


@pytest.mark.spec("O7")
def test_unknown_workers_and_malformed_items_are_dropped_with_a_warning() -> None:
    items = ["x", {"worker": "C", "task": "do"}, {"worker": 3, "task": "do"}, {"worker": "A", "task": " "}]
    plan = read_plan(json.dumps([*items, {"worker": "A", "task": "do"}]), WORKERS, 1)
    assert (len(plan.tasks), plan.problem) == (1, "")
    assert plan.warnings == (
        "assignment 1 of the planner is dropped: 'x' is no object",
        "assignment 2 of the planner is dropped: there is no worker 'C'",
        "assignment 3 of the planner is dropped: {'worker': 3, 'task': 'do'} has no worker and task that are texts",
        "assignment 4 of the planner is dropped: {'worker': 'A', 'task': ' '} has no worker and task that are texts",
    )


def test_only_unknown_workers_are_a_problem_that_names_the_known() -> None:
    plan = read_plan('[{"worker": "C", "task": "do"}]', WORKERS, 2)
    assert plan.problem == "it names no worker that is there: the workers are A, B"


def test_what_no_store_can_hold_is_replaced() -> None:
    plan = read_plan(r'[{"worker": "A", "task": "a\ud800b", "context": "\udfff", "reason": "\ud800"}]', WORKERS, 1)
    (task,) = plan.tasks
    canonical((task.task, task.context, plan.reasons))
    assert (task.task, task.context) == ("a?b", "?")
