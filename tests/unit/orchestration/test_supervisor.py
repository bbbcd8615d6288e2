"""A supervisor: planning, waves, replanning, what counts as success, and the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shoal.kernel.budget import LoopLimits
from shoal.orchestration import Supervisor, SupervisorConfig, SupervisorResult
from shoal.orchestration.selection import WorkerSelectionMode
from tests.support.speakers import Calls, Speaker, virtual

REPLANNED = "What they have done so far:"


def plan(*assignments: str | tuple[str, str] | dict[str, Any]) -> str:
    """Return a plan; a name alone is told ``do NAME``."""
    items = []
    for each in assignments:
        if isinstance(each, dict):
            items.append(each)
        else:
            name, task = (each, f"do {each}") if isinstance(each, str) else each
            items.append({"worker": name, "task": task})
    return json.dumps(items)


def once(first: Any, then: Any = "[]") -> Callable[[str], Any]:
    """Return a planner's answers: *first*, and *then* when it sees what was done."""
    return lambda prompt: then if REPLANNED in prompt else first


class Cast:
    """A supervisor of speakers, with their calls."""

    def __init__(
        self, planner: Any, names: str = "AB", *, answers: dict[str, Any] | None = None, **config: Any
    ) -> None:
        self.calls = Calls()
        loop = config.pop("loop", LoopLimits())
        seconds: dict[str, float] = config.pop("seconds", {})
        said = {"Synthesizer": "the answer", "Planner": planner, **(answers or {})}
        self.agents = {
            name: Speaker(name, said.get(name), self.calls, seconds=seconds.get(name, 0.0), cost=1.0)
            for name in [*names, "Planner", "Synthesizer"]
        }
        self.pattern = Supervisor(
            {name: self.agents[name] for name in names},
            self.agents["Planner"],
            self.agents["Synthesizer"],
            SupervisorConfig(**config),
            loop=loop,
        )

    def run(self, task: str = "the task", **options: Any) -> SupervisorResult:
        """Run it in virtual time."""
        return virtual(lambda clock: self.pattern.run(task, **options))

    def said_to(self, place: str) -> str:
        """Return what was said at *place*, where one call was made."""
        (message,) = self.calls.messages(place)
        return message


# -- planning and replanning


def test_plan_work_and_bring_together() -> None:
    cast = Cast(once(plan(("B", "find"), ("A", "write"))))
    result = cast.run()
    assert (result.content, result.success, result.error, result.stopped) == ("the answer", True, None, None)
    assert [(task.worker_name, task.task, task.iteration) for task in result.plan] == [
        ("B", "find", 1),
        ("A", "write", 1),
    ]
    assert [(r.worker_name, r.task, r.output) for r in result.worker_results] == [
        ("B", "find", "B(Task: find)"),
        ("A", "write", "A(Task: write)"),
    ]
    assert (result.successful_workers, result.failed_workers, result.iterations) == (["B", "A"], [], 1)
    assert cast.calls.places() == ["i1/plan", "i1/w0:B", "i1/w1:A", "i2/plan", "synthesis"]


@pytest.mark.spec("O9")
def test_as_many_iterations_as_are_allowed() -> None:
    cast = Cast(plan("A"), max_iterations=3)
    result = cast.run()
    assert (result.iterations, result.success, result.stopped) == (3, True, None)
    assert [place for place in cast.calls.places() if "plan" in place] == ["i1/plan", "i2/plan", "i3/plan"]
    assert [task.iteration for task in result.plan] == [r.iteration for r in result.worker_results] == [1, 2, 3]


@pytest.mark.spec("O9")
def test_an_empty_plan_at_the_second_call_is_the_end() -> None:
    cast = Cast(once(plan("A")), max_iterations=3)
    result = cast.run()
    assert (result.iterations, result.success, result.reasoning) == (1, True, "")
    assert cast.calls.places() == ["i1/plan", "i1/w0:A", "i2/plan", "synthesis"]


def test_without_replanning_it_plans_once() -> None:
    cast = Cast(plan("A"), allow_replanning=False)
    assert cast.run().iterations == 1
    assert cast.calls.places() == ["i1/plan", "i1/w0:A", "synthesis"]


@pytest.mark.spec("O7")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I would ask A first.", "there is no JSON array of objects with worker and task in it"),
        ("[]", "it is empty, and nothing is done yet"),
        (plan("C"), "it names no worker that is there: the workers are A, B"),
    ],
)
def test_a_plan_of_no_use_is_sent_back_once_then_all_get_the_task(answer: str, reason: str) -> None:
    cast = Cast(answer)
    result = cast.run()
    assert cast.calls.places() == ["i1/plan", "i1/repair", "i1/w0:A", "i1/w1:B", "synthesis"]
    assert (result.success, result.content, result.iterations) == (True, "the answer", 1)
    assert result.reasoning == f"[1] {reason}: the whole task went to all workers"
    assert [(task.worker_name, task.task) for task in result.plan] == [("A", "the task"), ("B", "the task")]
    repair = cast.said_to("i1/repair")
    assert repair.startswith("Plan who does what for this task.\n\nTask: the task\n\nThe workers:\n- A\n- B\n\n")
    assert f"\n{answer}\n" in repair and f"This plan cannot be used: {reason}. Answer again" in repair
    failing = Cast(answer, on_bad_plan="fail")
    result = failing.run()
    assert (result.success, result.error, result.stopped) == (False, f"there is no plan: {reason}", "error")
    assert (result.content, result.plan, failing.calls.places()) == ("", (), ["i1/plan", "i1/repair"])


@pytest.mark.spec("O7")
def test_a_repaired_plan_is_used() -> None:
    cast = Cast(lambda prompt: plan("B") if "cannot be used" in prompt else "hm", allow_replanning=False)
    result = cast.run()
    assert cast.calls.places() == ["i1/plan", "i1/repair", "i1/w0:B", "synthesis"]
    assert (result.reasoning, result.success) == ("", True)


@pytest.mark.spec("O7", "O3")
@pytest.mark.parametrize("on_bad_plan", ["all", "fail"])
def test_planning_that_takes_too_long(on_bad_plan: str) -> None:
    cast = Cast(plan("A"), seconds={"Planner": 5.0}, planning_timeout=2, on_bad_plan=on_bad_plan)
    result = cast.run()
    assert cast.calls.cancelled == ["i1/plan"]
    assert result.total_duration_ms == 2000
    if on_bad_plan == "all":
        assert cast.calls.places() == ["i1/plan", "i1/w0:A", "i1/w1:B", "synthesis"]
        assert (result.success, result.reasoning) == (
            True,
            "[1] planning timed out: the whole task went to all workers",
        )
    else:
        assert (result.success, result.error, result.stopped) == (
            False,
            "there is no plan: planning timed out",
            "timeout",
        )


@pytest.mark.spec("O7")
def test_a_planner_that_raises() -> None:
    result = Cast(ValueError("no")).run()
    assert (result.success, result.reasoning) == (True, "[1] planning failed: no: the whole task went to all workers")
    result = Cast(ValueError("no"), on_bad_plan="fail").run()
    assert (result.success, result.error, result.stopped) == (False, "there is no plan: planning failed: no", "error")


@pytest.mark.parametrize("second", ["hm", ValueError("no")])
def test_replanning_that_fails_ends_with_what_is_there(second: Any) -> None:
    cast = Cast(once(plan("A"), second), on_bad_plan="fail")
    result = cast.run()
    assert (result.success, result.content, result.iterations) == (True, "the answer", 1)
    problem = (
        "planning failed: no" if second != "hm" else "there is no JSON array of objects with worker and task in it"
    )
    assert result.reasoning == f"[2] {problem}: what was done until then is what there is"
    assert "i2/w0:A" not in cast.calls.places()


@pytest.mark.spec("O7")
def test_unknown_workers_are_dropped_with_a_warning() -> None:
    result = Cast(once(plan("A", "Nobody"))).run()
    assert [task.worker_name for task in result.plan] == ["A"]
    assert result.warnings == ("assignment 2 of the planner is dropped: there is no worker 'Nobody'",)
    assert result.success


def test_reasons_are_asked_for_and_kept() -> None:
    assignment = {"worker": "A", "task": "do", "reason": "knows it"}
    cast = Cast(once(plan(assignment), plan({**assignment, "reason": "again"})), max_iterations=2)
    assert cast.run().reasoning == "[1] A: knows it\n[2] A: again"
    assert '"reason": "why"' in cast.said_to("i1/plan")
    silent = Cast(once(plan(assignment)), include_reasoning=False)
    assert silent.run().reasoning == ""
    assert "reason" not in silent.said_to("i1/plan")


# -- modes, waves, times


@pytest.mark.spec("O10")
@pytest.mark.parametrize("mode", ["all", WorkerSelectionMode.ALL])
def test_all_get_the_same_task_without_a_planner(mode: Any) -> None:
    cast = Cast("never", mode=mode)
    result = cast.run(context="the context")
    assert cast.calls.places() == ["i1/w0:A", "i1/w1:B", "synthesis"]
    for place in ("i1/w0:A", "i1/w1:B"):
        assert cast.said_to(place) == "Context: the context\n\nTask: the task"
    assert (result.iterations, [task.task for task in result.plan]) == (1, ["the task", "the task"])


@pytest.mark.spec("O10")
@pytest.mark.parametrize("mode", ["sequential", WorkerSelectionMode.SEQUENTIAL])
def test_one_after_the_other_each_seeing_what_was_before(mode: Any) -> None:
    second = {"worker": "A", "task": "write", "priority": 2}
    cast = Cast(plan(second, ("B", "find"), ("C", "fail")), "ABC", mode=mode, answers={"C": ValueError("no")})
    result = cast.run()
    assert cast.calls.places() == ["i1/plan", "i1/w0:B", "i1/w1:C", "i1/w2:A", "synthesis"]
    assert cast.said_to("i1/w0:B") == "Task: find"
    assert "### B\n" in cast.said_to("i1/w2:A") and "\nB(Task: find)\n" in cast.said_to("i1/w2:A")
    assert "### C" not in cast.said_to("i1/w2:A"), "failures are nothing to build on"
    assert cast.said_to("i1/w2:A").endswith("\n\nTask: write")
    assert (result.iterations, result.failed_workers) == (1, ["C"])


@pytest.mark.spec("O10", "O3")
@pytest.mark.parametrize("mode", ["all", "selective", "sequential"])
def test_each_worker_is_bounded(mode: str) -> None:
    cast = Cast(once(plan("A", "B")), mode=mode, worker_timeout=3, seconds={"A": 1.0, "B": 9.0})
    result = cast.run()
    assert [(r.output != "", r.error) for r in result.worker_results] == [(True, None), (False, "Timeout")]
    assert [r.duration_ms for r in result.worker_results] == [1000, 3000]
    assert cast.calls.cancelled == ["i1/w1:B"]
    assert (result.total_duration_ms, result.success) == (4000 if mode == "sequential" else 3000, True)


@pytest.mark.spec("O11")
@pytest.mark.parametrize("mode", ["all", "selective"])
def test_waves(mode: str) -> None:
    names = "ABCDEFGH"
    cast = Cast(plan(*names), names, mode=mode, seconds=dict.fromkeys(names, 1.0), allow_replanning=False)
    result = cast.run()
    assert len(result.worker_results) == len(result.successful_workers) == 8
    assert result.total_duration_ms == 2000
    wave = [f"i1/w{number}:{name}" for number, name in enumerate(names)]
    assert [place for place in cast.calls.places() if "/w" in place] == wave, "five, then three"
    half = Cast(
        plan(*names), names, mode=mode, seconds=dict.fromkeys(names, 1.0), max_workers_per_step=2, max_iterations=1
    )
    assert half.run().total_duration_ms == 4000


def test_a_worker_named_twice_works_one_after_the_other() -> None:
    cast = Cast(
        plan(("A", "1"), ("B", "2"), ("A", "3")), seconds={"A": 1.0, "B": 1.5}, max_iterations=1, worker_timeout=1.7
    )
    result = cast.run()
    assert [(r.task, r.output) for r in result.worker_results] == [
        ("1", "A(Task: 1)"), ("2", "B(Task: 2)"), ("3", "A(Task: 3)")
    ]  # fmt: skip
    assert result.total_duration_ms == 2000
    assert result.successful_workers == ["A", "B"]


# -- success


@pytest.mark.spec("O8")
def test_one_failure_where_all_must_succeed() -> None:
    cast = Cast(plan("A", "B"), answers={"B": ValueError("no")}, require_all_workers=True, max_iterations=1)
    result = cast.run()
    assert (result.success, result.error, result.stopped) == (False, "not all workers succeeded (B: no)", None)
    assert (result.content, "synthesis" in cast.calls.places()) == ("**A**:\nA(Task: do A)", False)
    assert [r.error for r in result.worker_results] == [None, "no"]


@pytest.mark.spec("O8")
def test_fewer_successes_than_must_be() -> None:
    cast = Cast(plan("A", "A", "B"), answers={"B": ValueError("no")}, min_successful_workers=2, max_iterations=1)
    result = cast.run()
    assert (result.success, "synthesis" in cast.calls.places()) == (False, False)
    assert result.error == "1 of 2 workers succeeded, min_successful_workers is 2 (B: no)"
    assert result.content == "**A**:\nA(Task: do A)\n\n---\n\n**A**:\nA(Task: do A)", "one worker counts once"


def test_the_last_result_of_a_worker_counts() -> None:
    flaky = once(ValueError("no"), "done")
    cast = Cast(once(plan("B", "A"), plan("A")), max_iterations=2, require_all_workers=True)
    cast.agents["A"]._answer = lambda prompt: flaky(prompt.replace("What was done before:", REPLANNED))
    result = cast.run()
    assert (result.success, result.successful_workers, result.failed_workers) == (True, ["B", "A"], [])
    assert [r.success for r in result.worker_results] == [True, False, True]


@pytest.mark.parametrize(("seconds", "error", "stopped"), [(0.0, "no", "error"), (9.0, "Timeout", "timeout")])
def test_a_synthesis_that_fails(seconds: float, error: str, stopped: str) -> None:
    cast = Cast(
        plan("A"), answers={"Synthesizer": ValueError("no")}, seconds={"Synthesizer": seconds}, synthesis_timeout=4,
        max_iterations=1,
    )  # fmt: skip
    result = cast.run()
    assert (result.success, result.error, result.stopped) == (False, f"the synthesis failed: {error}", stopped)
    assert result.content == "**A**:\nA(Task: do A)"


def test_outputs_can_stand_below_the_answer() -> None:
    result = Cast(plan("A", "B"), include_worker_outputs=True, max_iterations=1).run()
    outputs = "**A**:\nA(Task: do A)\n\n---\n\n**B**:\nB(Task: do B)"
    assert result.content == f"the answer\n\n---\n\n{outputs}"


def test_the_same_plan_with_the_same_outputs_is_a_loop() -> None:
    cast = Cast(plan("A"), max_iterations=9, answers={"A": "the same"})
    result = cast.run()
    assert (result.iterations, result.success, result.stopped) == (3, False, "no_progress")
    assert result.error == "loop detected (plan): the same plan for A had the same outputs 3 times"
    assert "synthesis" not in cast.calls.places() and result.content.count("**A**:") == 3
    early = Cast(plan("A"), max_iterations=9, answers={"A": "same"}, loop=LoopLimits(max_repeats=2)).run()
    assert (early.iterations, early.stopped) == (2, "no_progress")


def test_another_output_is_progress() -> None:
    cast = Cast(plan("A"), max_iterations=5, answers={"A": lambda prompt: f"after {prompt.count('after')}"})
    result = cast.run()
    assert (result.iterations, result.stopped, result.success) == (5, None, True)
