"""How supervisors are configured, and what comes of it: waves, time-outs, workers that fail, costs.

Run it with: python examples/orchestration/configuration.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from shoal import Agent, Budget
from shoal.llm import scripted
from shoal.orchestration import Debate, ParallelAgents, Pipeline, Supervisor, SupervisorConfig, WorkerSelectionMode

NAMES = ("North", "East", "South", "West")


def model_of(name: str) -> Any:
    """Return a scripted model: the one in the west fails."""
    said = RuntimeError("the line is dead") if name == "West" else f"sun in the {name.lower()}"
    return scripted({name: [said], "Planner": ["hm"] * 9, "Synthesizer": ["Mostly sun."]}, cost=0.001)


def reporters(model: str | None) -> list[Agent[Any]]:
    """Return new agents: one instance is never in a pattern twice."""
    return [
        Agent(role=f"Reporter in the {name}", name=name, model=model or model_of(name), retries=0) for name in NAMES
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name")
    model = parser.parse_args().model

    # -- every field, with its default
    config = SupervisorConfig(
        mode=WorkerSelectionMode.SELECTIVE,  # or ALL, SEQUENTIAL
        max_workers_per_step=5,
        max_iterations=3,
        allow_replanning=True,
        planning_timeout=60.0,
        worker_timeout=120.0,
        synthesis_timeout=60.0,
        require_all_workers=False,
        min_successful_workers=1,
    )
    print("Defaults:", config == SupervisorConfig())

    # -- a planner that makes no plan: everybody gets the task, and the result says so
    agents = reporters(model)
    supervisor = Supervisor({agent.name: agent for agent in agents}, config=config)
    result = await supervisor.run("What is the weather?")
    print(f"{result.content} ({len(result.successful_workers)} of {len(result.worker_results)}: {result.success})")
    print(result.reasoning)
    print(f"Total cost: ${result.total_cost:.4f}")

    # -- all at once, two at a time, and all must succeed
    strict = SupervisorConfig(mode="all", max_workers_per_step=2, require_all_workers=True)
    result = await Supervisor({agent.name: agent for agent in reporters(model)}, config=strict).run("The weather?")
    print(result.success, "|", result.error)
    print(result.content.splitlines()[:2])

    # -- time-outs of every pattern
    parallel = ParallelAgents(reporters(model), timeout=120.0)
    Pipeline(reporters(model), step_timeout=60.0)
    Debate(reporters(model), round_timeout=180.0)
    results = await parallel.chat("The weather?")
    for failed in results.failed:
        print(f"{failed.agent_name} failed: {failed.error}")

    # -- what may be spent, for one run
    limited = await parallel.run("The weather?", budget=Budget(max_calls=2))
    print(limited.stopped, "|", len(limited.successful), "answers")


if __name__ == "__main__":
    asyncio.run(main())
