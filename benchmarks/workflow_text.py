"""What it costs to tell of the work of an orchestrator: report, trace and metrics of many steps, from their records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.common import percentile, timed
from benchmarks.measurement import Bound, Entry, Measurement

if TYPE_CHECKING:
    from shoal.orchestration.workflow.report import WorkflowReport


def rendering(steps: int = 1_000, rounds: int = 20) -> dict[str, float]:
    """Markdown (with the trace), JSON, the trace alone and the metrics of a report of *steps* steps: p50 of all four."""
    from shoal.orchestration.workflow.metrics import Tally, metrics_of

    report = _report(steps)

    def render() -> None:
        report.to_markdown()
        report.to_json()
        report.trace_text()
        metrics_of([Tally.of(report)], numbers=True)

    return {"all_ms": percentile(timed(render, rounds), 0.5) * 1e3}


def _report(steps: int) -> WorkflowReport:
    """Return a report of *steps* works that were given, handed in and reviewed."""
    from shoal.kernel.usage import Usage
    from shoal.orchestration.workflow.brief import Brief, WorkStep
    from shoal.orchestration.workflow.delivery import Delivery
    from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
    from shoal.orchestration.workflow.report import CallRecord, StepRecord, WorkflowReport
    from shoal.orchestration.workflow.trace import TraceEntry

    at = datetime(2026, 1, 1, tzinfo=UTC)
    used = Usage(calls=1, input_tokens=900, output_tokens=100, cost_pico=10**9)
    records, messages, calls = [], [], []
    trace = [TraceEntry(seq=1, at=at, kind="task_received", task="Build all parts")]
    for number in range(steps):
        step_id, agent, file = str(number + 1), f"developer-{number % 100}", f"part_{number}.py"
        step = WorkStep(id=step_id, title=f"Write part {number}", owner="Developer", task_type="implementation")
        delivery = Delivery(summary="It is done", outputs=("Added the part",), files={file: "value = 1\n" * 20})
        records.append(
            StepRecord(step=step, status="completed", instance=agent, attempts=1, delivery=delivery, started_at=at,
                       finished_at=at, due_at=at, duration_ms=50.0, usage=used)
        )  # fmt: skip
        messages.append(
            WorkMessage(message_id=f"msg_{step_id}", from_agent="orchestrator", to_agent="developer", priority="medium",
                        task_type="implementation", task=WorkOrder(description=step.title))
        )  # fmt: skip
        calls.append(
            CallRecord(role="Developer", instance=agent, kind="work", step_id=step_id, message_id=f"msg_{step_id}",
                       seconds=0.05, usage=used)
        )  # fmt: skip
        trace += [
            TraceEntry(seq=2 * number + 2, at=at, kind="work_assigned", sender="Orchestrator", receiver="Developer",
                       step_id=step_id, instance=agent, task=step.title, context="python, fastapi"),
            TraceEntry(seq=2 * number + 3, at=at, kind="work_delivered", sender="Developer", receiver="Orchestrator",
                       step_id=step_id, instance=agent, output=(f"{file} (20 lines)", "Added the part")),
        ]  # fmt: skip
    return WorkflowReport(
        task=Brief("Build all parts"), plan=tuple(each.step for each in records), steps=tuple(records),
        messages=tuple(messages), calls=tuple(calls), trace=tuple(trace), ready=True,
        files={f"part_{number}.py": "value = 1\n" * 20 for number in range(steps)},
    )  # fmt: skip


MEASUREMENTS = (
    Measurement(
        name="workflow text",
        what="report (Markdown and JSON), trace and metrics of 1,000 steps",
        figures={"all_ms": "ms"},
        entries=(Entry("shoal", "benchmarks.workflow_text:rendering"),),
        bounds=(Bound("all_ms", "goal", most=100),),
        quick={"steps": 50, "rounds": 3},
    ),
)
