"""Metrics: the keys and texts of the form, every definition on records, and sums that are exact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.brief import Brief, WorkStep
from shoal.orchestration.workflow.conflict import ConflictRecord
from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
from shoal.orchestration.workflow.metrics import Counts, Tally, metrics_of
from shoal.orchestration.workflow.report import CallKind, CallRecord, ReviewRecord, StepRecord, WorkflowReport
from shoal.orchestration.workflow.review import Facts, Issue, Review

AT = datetime(2026, 1, 1, tzinfo=UTC)


def _step(step_id: str, owner: str, *depends_on: str, **fields: Any) -> StepRecord:
    kind = "review" if owner == "Reviewer" else "work"
    step = WorkStep(id=step_id, title=f"Step {step_id}", owner=owner, task_type=kind, depends_on=depends_on)
    return StepRecord(step=step, **{"status": "completed", "instance": f"{owner.lower()}-1", **fields})


def _call(role: str, kind: CallKind, seconds: float, step_id: str = "", **fields: Any) -> CallRecord:
    instance = fields.pop("instance", f"{role.lower()}-1")
    return CallRecord(role=role, instance=instance, kind=kind, seconds=seconds, step_id=step_id, **fields)


def _message(number: int, to: str) -> WorkMessage:
    return WorkMessage(
        message_id=f"msg_{number}",
        from_agent="orchestrator",
        to_agent=to,
        task_type="work",
        priority="medium",
        task=WorkOrder(description="Do it"),
    )


def _report(steps: Sequence[StepRecord], **fields: Any) -> WorkflowReport:
    return WorkflowReport(task=Brief("Build"), plan=tuple(each.step for each in steps), steps=tuple(steps), **fields)


def _run(research: Sequence[int], works: Sequence[int], conflicts: int) -> WorkflowReport:
    """Return a run with these research steps, and works that are reviewed once each: 18 of 25 at once approved."""
    steps = [_step(f"r{n}", "Researcher") for n in research]
    steps += [_step(f"d{n}", "Developer") for n in works]
    steps += [_step(f"v{n}", "Reviewer", f"d{n}") for n in works]
    roles = ["researcher"] * len(research) + ["developer"] * len(works) + ["reviewer"] * len(works)
    calls = [_call("Orchestrator", "plan", 2.3)]
    calls += [_call("Researcher", "work", 330.0 + (10 if n % 2 else -10), f"r{n}") for n in research]
    calls += [_call("Developer", "work", 900.0, f"d{n}") for n in works]
    calls += [_call("Reviewer", "review", 480.0, f"v{n}") for n in works]
    issues = [Issue(id=f"R{n}.{i}", title="x", opened_by="Reviewer") for n in works for i in range(4 if n < 5 else 3)]
    reviews = [
        ReviewRecord(
            step_id=f"v{n}",
            round=1,
            reviewer="Reviewer",
            works=(f"d{n}",),
            approved=n < 18,
            review=Review(score=95 if n < 18 else 60, facts=Facts(checked=1, correct=int(n < 23))),
        )
        for n in works
    ]
    return _report(
        steps,
        calls=tuple(calls),
        messages=tuple(_message(number, role) for number, role in enumerate(roles, start=1)),
        reviews=tuple(reviews),
        issues=tuple(issues),
        conflicts=tuple(ConflictRecord(id=f"C{n}", topic="x", decision="y") for n in range(conflicts)),
    )


@pytest.mark.spec("W8")
def test_two_runs_together_give_the_metrics_of_the_form() -> None:
    runs = [_run(range(8), range(12), 2), _run(range(8, 20), range(12, 25), 3)]
    metrics = metrics_of(map(Tally.of, runs))
    assert msgspec.json.encode(metrics) == msgspec.json.encode(  # the order of keys counts, too
        {
            "orchestrator": {"tasks_delegated": 70, "avg_decomposition_time": "2.3s", "conflict_resolutions": 5},
            "researcher": {"tasks_completed": 20, "avg_research_time": "5m 30s", "accuracy_score": 0.92},
            "developer": {"tasks_completed": 25, "avg_coding_time": "15m", "first_approval_rate": 0.72},
            "reviewer": {"tasks_completed": 25, "avg_review_time": "8m", "issues_found_per_task": 3.2},
        }
    )


def _troubled() -> WorkflowReport:
    """A run with a rework, a time-out, a backup, two reviews of one work, a fifth role and a step of the lead's own."""
    steps = [
        _step("1", "Researcher"),
        _step("2", "Orchestrator", "1", instance="Lead"),
        _step("3", "Developer", "2", instance="developer-2", reworks=1, attempts=3),
        _step("4", "Reviewer", "3"),
        _step("5", "Reviewer", "4", instance="reviewer-2"),
        _step("6", "Writer", "5", status="failed"),
    ]
    lead = {"instance": "Lead"}
    calls = (
        _call("Orchestrator", "plan", 3.0, success=False, usage=Usage(calls=1, cost_pico=1), **lead),
        _call("Orchestrator", "plan", 5.0, usage=Usage(calls=1, cost_pico=2), **lead),
        _call("Researcher", "work", 60.0, "1", message_id="msg_1", usage=Usage(calls=2, cost_pico=4)),
        _call("Orchestrator", "work", 10.0, "2", message_id="msg_2", usage=Usage(cost_pico=8), **lead),
        _call("Developer", "work", 1800.0, "3", success=False, timed_out=True, message_id="msg_3",
              usage=Usage(calls=3, input_tokens=5, output_tokens=6, cost_pico=16)),
        _call("Developer", "work", 100.0, "3", message_id="msg_4", instance="developer-2", usage=Usage(cost_pico=32)),
        _call("Reviewer", "review", 20.0, "4", message_id="msg_5", usage=Usage(cost_pico=64)),
        _call("Developer", "fix", 50.0, "3", message_id="msg_6", instance="developer-2", usage=Usage(cost_pico=128)),
        _call("Reviewer", "review", 40.0, "4", message_id="msg_7", usage=Usage(cost_pico=256)),
        _call("Reviewer", "review", 60.0, "5", message_id="msg_8", instance="reviewer-2", usage=Usage(cost_pico=512)),
        _call("Reviewer", "position", 7.0, "4", timed_out=True, success=False, usage=Usage(cost_pico=1024)),
        _call("Writer", "work", 9.0, "6", success=False, message_id="msg_9", usage=Usage(cost_pico=2048)),
        _call("Orchestrator", "summary", 1.0, usage=Usage(cost_pico=4096), **lead),
    )  # fmt: skip
    to = [
        "researcher",
        "orchestrator",
        "developer",
        "developer",
        "reviewer",
        "developer",
        "reviewer",
        "reviewer",
        "writer",
    ]
    facts = Facts(checked=3, correct=2)
    reviews = (
        ReviewRecord(step_id="4", round=1, reviewer="reviewer-1", works=("3",), review=Review(score=85, facts=facts)),
        ReviewRecord(step_id="4", round=2, reviewer="reviewer-1", works=("3",), approved=True, review=Review(score=98)),
        ReviewRecord(step_id="5", round=1, reviewer="reviewer-2", works=("3",), approved=True, review=Review(score=99)),
    )
    return _report(
        steps,
        calls=calls,
        messages=tuple(_message(number, role) for number, role in enumerate(to, start=1)),
        reviews=reviews,
        issues=(
            Issue(id="R1", title="a", opened_by="Reviewer", opened_in="msg_5", status="resolved"),
            Issue(id="R2", title="b", opened_in="msg_8"),
        ),
        conflicts=(ConflictRecord(id="C1", topic="x", decision="y"), ConflictRecord(id="C2", topic="never decided")),
    )


@pytest.mark.spec("W8")
def test_every_definition_by_role() -> None:
    numbers = {"calls": 0, "tokens": 0, "tasks_failed": 0, "reworks": 0, "timeouts": 0}
    assert metrics_of([Tally.of(_troubled())], numbers=True) == {
        "orchestrator": numbers | {
            "tasks_delegated": 8, "avg_decomposition_time": "5s", "avg_decomposition_seconds": 5.0,
            "conflict_resolutions": 1, "calls": 2, "cost": 4107e-12,
        },
        "researcher": numbers | {
            "tasks_completed": 1, "avg_research_time": "1m", "avg_research_seconds": 60.0, "accuracy_score": 0.67,
            "calls": 2, "cost": 4e-12,
        },
        "developer": numbers | {
            "tasks_completed": 2, "avg_coding_time": "1m 15s", "avg_coding_seconds": 75.0, "first_approval_rate": 0.0,
            "tasks_failed": 1, "reworks": 1, "timeouts": 1, "calls": 3, "tokens": 11, "cost": 176e-12,
        },
        "reviewer": numbers | {
            "tasks_completed": 3, "avg_review_time": "40s", "avg_review_seconds": 40.0, "issues_found_per_task": 0.67,
            "timeouts": 1, "cost": 1856e-12,
        },
        "writer": numbers | {
            "tasks_completed": 0, "avg_time": None, "avg_seconds": None, "tasks_failed": 1, "cost": 2048e-12,
        },
    }  # fmt: skip


def test_every_definition_by_instance() -> None:
    assert metrics_of([Tally.of(_troubled())], by="instance") == {
        "Lead": {"tasks_delegated": 8, "avg_decomposition_time": "5s", "conflict_resolutions": 1},
        "researcher-1": {"tasks_completed": 1, "avg_research_time": "1m", "accuracy_score": 0.67},
        "developer-1": {"tasks_completed": 0, "avg_coding_time": None, "first_approval_rate": None},
        "developer-2": {"tasks_completed": 2, "avg_coding_time": "1m 15s", "first_approval_rate": 0.0},
        "reviewer-1": {"tasks_completed": 2, "avg_review_time": "30s", "issues_found_per_task": 0.5},
        "reviewer-2": {"tasks_completed": 1, "avg_review_time": "1m", "issues_found_per_task": 1.0},
        "writer-1": {"tasks_completed": 0, "avg_time": None},
    }


def test_facts_of_two_researchers_count_for_the_role_alone() -> None:
    steps = [_step("1", "Researcher"), _step("2", "Researcher", instance="b"), _step("3", "Reviewer", "1", "2")]
    review = Review(score=1, facts=Facts(checked=4, correct=1))
    tally = Tally.of(_report(steps, reviews=(ReviewRecord(step_id="3", round=1, reviewer="Reviewer", review=review),)))
    assert metrics_of([tally])["researcher"]["accuracy_score"] == 0.25
    assert metrics_of([tally], by="instance") == {
        "reviewer-1": {"tasks_completed": 0, "avg_review_time": None, "issues_found_per_task": 0.0}
    }


def test_a_review_counts_for_whoever_made_it() -> None:
    calls = tuple(_call("Reviewer", "review", 1.0, "2", instance=name) for name in ("a", "b"))
    rounds = tuple(
        ReviewRecord(step_id="2", round=n, reviewer=name, review=Review()) for n, name in ((1, "a"), (2, "b"))
    )
    issue = Issue(title="x", opened_by="Reviewer", opened_in="msg_1")
    calls = (msgspec.structs.replace(calls[0], message_id="msg_1"), calls[1])
    report = _report([_step("2", "Reviewer", instance="b")], calls=calls, reviews=rounds, issues=(issue,))
    shown = metrics_of([Tally.of(report)], by="instance")
    assert [shown[name]["issues_found_per_task"] for name in ("a", "b")] == [1.0, 0.0]


def test_what_was_not_counted_is_none() -> None:
    assert metrics_of(
        [Tally.of(_report([_step("1", "Researcher"), _step("2", "Developer"), _step("3", "Reviewer")]))]
    ) == {
        "orchestrator": {"tasks_delegated": 0, "avg_decomposition_time": None, "conflict_resolutions": 0},
        "researcher": {"tasks_completed": 0, "avg_research_time": None, "accuracy_score": None},
        "developer": {"tasks_completed": 0, "avg_coding_time": None, "first_approval_rate": None},
        "reviewer": {"tasks_completed": 0, "avg_review_time": None, "issues_found_per_task": None},
    }
    assert metrics_of([]) == {}


def test_a_late_answer_costs_and_completes_nothing() -> None:
    late = _call("Developer", "work", 2000.0, "1", timed_out=True, success=True, usage=Usage(calls=1, cost_pico=10**12))
    shown = metrics_of([Tally.of(_report([_step("1", "Developer")], calls=(late,)))], numbers=True)["developer"]
    assert (shown["tasks_completed"], shown["tasks_failed"], shown["timeouts"], shown["cost"]) == (0, 1, 1, 1.0)


def test_another_grouping_is_refused() -> None:
    with pytest.raises(ValueError, match="by='team': it must be 'role' or 'instance'"):
        metrics_of([], by="team")  # type: ignore[arg-type]


def test_one_name_in_two_roles_stays_two() -> None:
    calls = (_call("Developer", "work", 1.0, instance="Ann"), _call("Reviewer", "review", 1.0, instance="Ann"))
    assert list(metrics_of([Tally.of(_report([], calls=calls))], by="instance")) == ["Ann", "Ann (reviewer)"]


def test_a_tally_round_trips() -> None:
    tally = Tally.of(_troubled())
    assert msgspec.json.decode(msgspec.json.encode(tally), type=Tally) == tally


_CALLS = st.lists(
    st.builds(
        CallRecord,
        role=st.sampled_from(["Orchestrator", "Developer", "Reviewer", "Writer"]),
        instance=st.sampled_from(["a", "b"]),
        kind=st.sampled_from(["plan", "work", "fix", "review", "position", "resolution", "summary"]),
        success=st.booleans(),
        timed_out=st.booleans(),
        seconds=st.floats(min_value=0, max_value=1e6),
        usage=st.builds(Usage, calls=st.integers(0, 9), cost_pico=st.integers(0, 10**15), lost_calls=st.integers(0, 2)),
    ),
    max_size=12,
)


@given(_CALLS, _CALLS)
def test_tallies_add_exactly_and_the_roles_costs_are_all_costs(
    first: list[CallRecord], second: list[CallRecord]
) -> None:
    one, other, both = (Tally.of(_report([], calls=tuple(calls))) for calls in (first, second, first + second))
    assert one + other == other + one == both
    whole = sum((counts for agents in both.seats.values() for counts in agents.values()), Counts())
    assert whole.usage == sum((call.usage for call in first + second), Usage())
