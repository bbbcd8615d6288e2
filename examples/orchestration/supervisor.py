"""A planner breaks a task down, workers do the parts, a synthesizer brings them together.

Run it with: python examples/orchestration/supervisor.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from shoal import Agent
from shoal.llm import scripted
from shoal.orchestration import Supervisor, SupervisorConfig

FIRST = [
    {"worker": "Researcher", "task": "Collect the main ideas.", "reason": "facts come first"},
    {"worker": "Writer", "task": "Draft an opening.", "reason": "the opening needs no facts"},
]
SECOND = [{"worker": "Editor", "task": "Put ideas and opening together.", "reason": "the parts are there"}]
SCRIPT = scripted(
    {
        "Planner": [json.dumps(FIRST), f"Nearly there: {json.dumps(SECOND)}"],
        "Researcher": ["Superposition, entanglement, interference."],
        "Writer": ["Some computers do not count in ones and zeros."],
        "Editor": ["Opening first, then one paragraph for each idea."],
        "Synthesizer": [
            "# Quantum computing\nSome computers do not count in ones and zeros. Three ideas make them work."
        ],
    },
    cost=0.001,
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    supervisor = Supervisor(
        workers={
            "Researcher": Agent(role="Research analyst", name="Researcher", model=model),
            "Writer": Agent(role="Content writer", name="Writer", model=model),
            "Editor": Agent(role="Editor", name="Editor", model=model),
        },
        config=SupervisorConfig(
            mode="selective",  # the planner chooses workers
            max_iterations=2,
        ),
    )
    result = await supervisor.run("Write a blog post about quantum computing")

    print(result.content)  # the synthesized answer
    for task in result.plan:  # what was planned
        print(f"{task.iteration}: {task.worker_name} <- {task.task}")
    for worker in result.worker_results:  # what each worker made of it
        print(f"{worker.worker_name}: {worker.output if worker.success else worker.error}")
    print(result.reasoning)
    print(f"Total cost: ${result.total_cost:.4f} for {result.usage.calls} calls")


if __name__ == "__main__":
    asyncio.run(main())
