"""What comes of agents that fail or take too long, and what it all costs.

Run it with: python examples/orchestration/errors_and_costs.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from shoal import Agent, Budget
from shoal.llm import scripted
from shoal.orchestration import Debate, ParallelAgents, Pipeline, Supervisor, SupervisorConfig

SAYS = scripted({"": "done"}, cost=0.0105)
FAILS = scripted({"": RuntimeError("no connection")})
DAWDLES = scripted({"": "late"}, latency=60)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name, for the agent that answers")
    real = parser.parse_args().model
    model, short = (real, 10.0) if real else (SAYS, 0.2)

    def agents() -> list[Agent[Any]]:
        """Return new agents: one that answers, one that fails, one that takes too long."""
        return [
            Agent(role="Writer", name="Writer", model=model),
            Agent(role="Checker", name="Checker", model=FAILS),
            Agent(role="Editor", name="Editor", model=DAWDLES),
        ]

    # -- time-outs: every pattern has one; what is finished is kept
    workers = {agent.name: agent for agent in agents()}
    config = SupervisorConfig(mode="all", worker_timeout=short, min_successful_workers=2)
    parallel = ParallelAgents(agents(), timeout=short)
    pipeline = Pipeline(agents(), step_timeout=short)
    debate = Debate(agents(), round_timeout=short)
    supervisor = Supervisor(workers, config=config)

    # -- parallel: goes on even if some fail
    results = await parallel.chat("message")
    print("All succeeded:", results.all_success)
    for r in results.failed:
        print(f"{r.agent_name} failed: {r.error}")

    # -- pipeline: stops at the first error, unless it is told to go on
    result = await pipeline.run("message")
    print([step.success for step in result.steps], result.error)
    going_on = Pipeline(agents(), step_timeout=short, stop_on_error=False)
    result = await going_on.run("message")
    print([step.success for step in result.steps], result.content)

    # -- debate: needs two answers a round
    said = await debate.run("message")
    print([message.content for message in said.messages])
    print(said.stopped, "|", said.error)

    # -- supervisor: as configured
    worked = await supervisor.run("Complex task")
    print(worked.success, "|", worked.error)

    # -- costs: this run's own calls, each once
    print(f"Total cost: ${worked.total_cost:.4f}")
    print(f"Duration: {worked.total_duration_ms > short * 1000}")
    print(f"Exactly: {worked.usage.cost_pico} pico-USD for {worked.usage.calls} calls")

    # -- a budget: the call that does not fit is not made
    limited = await Pipeline([agents()[0], agents()[0].fork(name="Second")]).run("message", budget=Budget(max_calls=1))
    print(f"{limited.stopped}: {limited.content!r} (${limited.total_cost:.4f})")


if __name__ == "__main__":
    asyncio.run(main())
