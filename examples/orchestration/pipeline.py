"""Agents in line: the text of each goes to the next, as it is or through a transformer.

Run it with: python examples/orchestration/pipeline.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio

from shoal import Agent
from shoal.llm import ModelRequest, scripted
from shoal.orchestration import ConditionalPipeline, Pipeline


def _said(request: ModelRequest) -> str:
    """Return what an agent makes of the last message: its name around it."""
    return f"{request.agent_name}({request.messages[-1].content})"


SCRIPT = scripted({"urgent": "urgent", "": _said})


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    researcher = Agent(role="Research analyst", name="Researcher", model=model)
    writer = Agent(role="Content writer", name="Writer", model=model)
    editor = Agent(role="Editor", name="Editor", model=model)

    pipeline = Pipeline(
        [
            researcher,  # Step 1: Research
            writer,  # Step 2: Write from research
            editor,  # Step 3: Edit draft
        ]
    )
    result = await pipeline.run("Write about AI in healthcare")
    for step in result.steps:
        print(f"{step.agent_name}: {step.output} (in {step.duration_ms:.0f}ms)")

    # -- with transformers between the steps, sync or async
    pipeline = Pipeline(
        agents=[researcher, writer, editor],
        transformers={
            1: lambda x: f"Write an article based on:\n{x}",
            2: lambda x: f"Edit and improve:\n{x}",
        },
    )
    result = await pipeline.run("Write about AI in healthcare")
    print(result.steps[2].input)

    # -- a classifier chooses the branch
    triage = Agent(role="Say urgent or normal, nothing else.", name="Triage", model=model)
    desk = ConditionalPipeline(triage, {"urgent": [writer], "default": [researcher, writer]}, router=str.strip)
    for message in ("This is urgent!", "When you have time."):
        routed = await desk.run(message)
        print(f"{routed.route}: {[step.agent_name for step in routed.steps]}")


if __name__ == "__main__":
    asyncio.run(main())
