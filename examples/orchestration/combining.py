"""Patterns within patterns: a research team feeds a debate, and a pipeline asks analysts in parallel.

Run it with: python examples/orchestration/combining.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from shoal import Agent
from shoal.llm import ModelRequest, scripted
from shoal.orchestration import Debate, ParallelAgents, Pipeline
from shoal.orchestration.supervisor import create_research_team

PLAN = json.dumps([{"worker": "Researcher", "task": "Collect the laws there are."}])


def _reads_context(request: ModelRequest) -> str:
    found = "Context: Two laws are in force." in request.messages[-1].content
    return f"I have read the research: {found}."


def _synthesis(request: ModelRequest) -> str:
    return f"A synthesis of:\n{request.messages[-1].content}"


SCRIPT = scripted(
    {
        "Planner": [PLAN, "[]"],
        "Researcher": ["Law A and law B.", "Law A and law B."],
        "Synthesizer": ["Two laws are in force."],
        **{name: [_reads_context] * 3 for name in ("Policy", "Industry", "Ethics")},
        "Moderator": ["They have all read it."],
        "Technical": ["It can be measured."] * 2,
        "Market": ["It can be sold."] * 2,
        "Summary": [_synthesis] * 2,
    },
    cost=0.01,
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    def agent(name: str, role: str) -> Agent[Any]:
        return Agent(role=role, name=name, model=model)

    # -- a research team feeds into a debate
    research_result = await create_research_team(model=model).run("Current state of AI regulation")
    experts = [agent(f"{field}", f"{field} expert") for field in ("Policy", "Industry", "Ethics")]
    debate_result = await Debate(agents=experts).run(
        topic="How should AI be regulated?",
        context=research_result.content,
    )
    print(debate_result.messages[0].content, debate_result.conclusion)

    # -- a pipeline with a parallel step, asked by a transformer
    researcher, summary = agent("Researcher", "Research analyst"), agent("Summary", "You bring things together.")
    parallel_analysts = ParallelAgents([agent("Technical", "Technical analyst"), agent("Market", "Market analyst")])

    async def with_analysis(text: str) -> str:
        results = await parallel_analysts.chat(text)
        return f"Analysis:\n{results.to_context()}\n\nSynthesize:"

    pipeline = Pipeline(agents=[researcher, summary], transformers={1: with_analysis})
    result = await pipeline.run("Regulation")
    print(result.content)
    print(f"Total cost: ${result.total_cost:.2f}, of which ${result.steps[1].usage.cost:.2f} in the second step")

    # -- a pattern is an agent: the same without a transformer
    nested = Pipeline(
        [researcher, ParallelAgents([agent("Technical", ""), agent("Market", "")], name="Analysts"), summary]
    )
    print([step.agent_name for step in (await nested.run("Regulation")).steps])


if __name__ == "__main__":
    asyncio.run(main())
