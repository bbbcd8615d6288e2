"""A team on the task of the document: whole, by delegated step, and with a thousand steps."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from benchmarks.common import percentile, run
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.runs import runtime_on_disk

if TYPE_CHECKING:
    from shoal.llm import ModelRequest
    from shoal.orchestration import Orchestrator

TASK = "Build user authentication API"
PLAN = [
    {"title": "Analyze requirements", "owner": "Researcher"},
    {"title": "Design architecture", "owner": "self", "depends_on": [1]},
    {"title": "Implement code", "owner": "Developer", "depends_on": [2]},
    {"title": "Write tests", "owner": "Developer", "depends_on": [3]},
    {"title": "Security review", "owner": "Reviewer", "depends_on": [4], "reviews": [3, 4]},
    {"title": "Performance check", "owner": "Developer", "depends_on": [5]},
    {"title": "Final review", "owner": "Reviewer", "depends_on": [6], "reviews": [3, 4]},
]
CODE = "FILE: auth_api.py\n```\n" + "x = 1\n" * 40 + '```\n{"summary": "done"}'
REJECTED = json.dumps({"score": 85, "issues": [{"severity": "HIGH", "title": "Missing rate limiting"}]})
APPROVED = json.dumps({"score": 98, "approved": True, "resolved": ["R1"]})
CALLS = 11


def _lead(request: ModelRequest) -> str:
    prompt = request.messages[-1].content
    return json.dumps(PLAN) if prompt.startswith("You lead a team.") else "It is built."


def _review(request: ModelRequest) -> str:
    return APPROVED if "R1 HIGH" in request.messages[-1].content else REJECTED


def team() -> Orchestrator:
    """Return a team whose models are scripted: eleven calls, one round of corrections."""
    from shoal.llm import Agent, scripted
    from shoal.orchestration import Orchestrator

    def agent(name: str, says: Any) -> Agent[Any]:
        return Agent(name=name, role=name, model=scripted([says] * 8))

    roles = {"Researcher": agent("Researcher", "- found"), "Developer": agent("Developer", CODE)}
    return Orchestrator(agent("Lead", _lead), {**roles, "Reviewer": agent("Reviewer", _review)})


def whole(count: int, journaled: bool) -> dict[str, float]:
    """Return the milliseconds of the whole task."""
    return run(_whole(count, journaled))


async def _whole(count: int, journaled: bool) -> dict[str, float]:
    taken = []
    async with runtime_on_disk() as here:
        for number in range(count + 1):
            work = team()
            begun = time.perf_counter()
            report = await (here.run(work, TASK, run_id=f"w{number}") if journaled else work.run(TASK))
            taken.append((time.perf_counter() - begun) * 1e3)
            assert report.success and len(report.calls) == CALLS, report.error
    return {"whole_p50_ms": percentile(taken[1:], 0.5), "calls": CALLS}


def step(count: int, journaled: bool) -> dict[str, float]:
    """Return the milliseconds of one delegated step beyond the turn of its agent."""
    return run(_step(count, journaled))


async def _step(count: int, journaled: bool) -> dict[str, float]:
    from shoal.orchestration import call

    work = _chain(count)
    async with runtime_on_disk() as here:
        begun = time.perf_counter()
        report = await (here.run(work, TASK, run_id="steps") if journaled else work.run(TASK))
        whole = time.perf_counter() - begun
        assert report.success, report.error
        (agent,) = work.teams["Worker"]
        prompt = "x" * 1500

        class Turns:
            name = "turns"

            async def chat(self, message: str) -> str:
                for number in range(count):
                    await call(agent, prompt, key=f"t{number}")
                return "done"

        begun = time.perf_counter()
        if journaled:
            await here.run(Turns(), TASK, run_id="turns")
        else:
            await Turns().chat(TASK)
        alone = time.perf_counter() - begun
    return {"step_ms": (whole - alone) / count * 1e3}


class _Worker:
    """Says that it is done, after *seconds*."""

    def __init__(self, name: str, seconds: float = 0.0) -> None:
        self.name = name
        self._seconds = seconds

    async def chat(self, message: str) -> str:
        """Answer."""
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return "- done"


def _chain(count: int) -> Orchestrator:
    from shoal.orchestration import Orchestrator, OrchestratorConfig, Plan, WorkStep

    steps = [
        WorkStep(id=str(n), title=f"Part {n}", owner="Worker", depends_on=(str(n - 1),) if n else ())
        for n in range(count)
    ]
    config = OrchestratorConfig(max_steps=count)
    return Orchestrator(_Worker("Lead"), {"Worker": _Worker("Worker")}, plan=Plan(tuple(steps)), config=config)


def many(steps: int, instances: int) -> dict[str, float]:
    """Return the seconds of independent steps on many instances, of their report, and of going on with them."""
    return run(_many(steps, instances))


async def _many(steps: int, instances: int) -> dict[str, float]:
    from shoal.orchestration import Orchestrator, OrchestratorConfig, Plan, WorkStep

    plan = Plan(tuple(WorkStep(id=str(n), title=f"Part {n}", owner="Worker") for n in range(steps)))
    config = OrchestratorConfig(max_steps=steps, max_parallel=instances)
    workers = [_Worker("Worker", 0.05) for _ in range(instances)]
    work = Orchestrator(_Worker("Lead"), {"Worker": workers}, plan=plan, config=config)
    await work.run(TASK)
    begun = time.perf_counter()
    report = await work.run(TASK)
    seconds = time.perf_counter() - begun
    assert report.success
    begun = time.perf_counter()
    report.to_markdown()
    report.trace_text()
    work.metrics(numbers=True)
    shown = time.perf_counter() - begun
    return {"many_s": seconds, "shown_ms": shown * 1e3}


MEASUREMENTS = (
    Measurement(
        name="workflow-whole",
        what="the team of the document: 11 scripted model calls, one round of corrections, from start to report",
        figures={"whole_p50_ms": "p50 ms", "calls": "calls of models"},
        entries=(
            Entry("shoal", "benchmarks.workflow:whole", {"count": 30, "journaled": False}, "in memory"),
            Entry("shoal, journaled", "benchmarks.workflow:whole", {"count": 30, "journaled": True}, "durability full"),
            Entry(
                "pydantic-ai", "benchmarks.peers.pydantic_ai_:row", {"count": 30, "calls": CALLS}, "11 agents in a row"
            ),
            Entry("crewai", "benchmarks.peers.crewai_:whole", {"count": 10}, "hierarchical, 7 tasks, no journal"),
        ),
        bounds=(
            Bound("whole_p50_ms", "goal", most=20),
            Bound("whole_p50_ms", "goal", most=50, of="shoal, journaled"),
        ),
        quick={"count": 2},
    ),
    Measurement(
        name="workflow-step",
        what="a delegated step beyond the turn of its agent",
        figures={"step_ms": "ms a step"},
        entries=(
            Entry("shoal", "benchmarks.workflow:step", {"count": 200, "journaled": False}, "in memory"),
            Entry("shoal, journaled", "benchmarks.workflow:step", {"count": 200, "journaled": True}, "durability full"),
        ),
        bounds=(Bound("step_ms", "goal", most=0.5), Bound("step_ms", "goal", most=2, of="shoal, journaled")),
        quick={"count": 20},
    ),
    Measurement(
        name="workflow-many",
        what="1,000 independent steps of 50 ms on 100 instances; then their report, trace and metrics",
        figures={"many_s": "s", "shown_ms": "ms to show"},
        entries=(Entry("shoal", "benchmarks.workflow:many", {"steps": 1000, "instances": 100}),),
        bounds=(Bound("many_s", "goal", most=0.6), Bound("shown_ms", "goal", most=100)),
        quick={"steps": 100},
    ),
)
