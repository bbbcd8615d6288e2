"""Several agents on the same input at once, and their answers as one text for another agent.

Run it with: python examples/orchestration/parallel.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio

from shoal import Agent
from shoal.llm import scripted
from shoal.orchestration import ParallelAgents, parallel_chat

SCRIPT = scripted(
    {
        "Researcher": ["Models get smaller.", "Models get cheaper."] * 2,
        "Writer": ["The year of the <small> model.", "The year of the cheap model."] * 2,
        "Editor": ["Too many adjectives.", "Too few numbers."] * 2,
    }
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    researcher = Agent(role="Research analyst", name="Researcher", model=model)
    writer = Agent(role="Content writer", name="Writer", model=model)
    editor = Agent(role="Editor", name="Editor", model=model)

    # -- as an object, which can be used again and again
    parallel = ParallelAgents([researcher, writer, editor])
    results = await parallel.chat("Analyze AI trends")
    for r in results.successful:
        print(f"{r.agent_name}: {r.content[:100]}")
    print("All answered:", results.all_success)

    # -- for another agent: numbered, labeled, xml or plain
    print(results.to_context(format="xml"))

    # -- as a function
    results = await parallel_chat(agents=[researcher, writer, editor], message="Analyze AI trends")
    print(results.to_context())

    # -- another message for each
    different = await parallel.chat_different({"Editor": "Edit the headline.", "default": "Wait for the editor."})
    print(different.by_agent("Editor"))


if __name__ == "__main__":
    asyncio.run(main())
