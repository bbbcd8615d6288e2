"""Agents that discuss a topic in rounds; a moderator concludes, and names who disagrees.

Run it with: python examples/orchestration/debate.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio

from shoal import Agent
from shoal.llm import scripted
from shoal.orchestration import Debate


def speech(text: str, position: str, agrees: str = "none", confidence: int = 60) -> str:
    """Return what a speaker says: a view, and the ballot that the debate asks for."""
    return f"{text}\n\nPOSITION: {position}\nAGREES WITH: {agrees}\nCONFIDENCE: {confidence}"


SCRIPT = scripted(
    {
        "Optimist": [
            speech("It is fast and never tired.", "Yes."),
            speech("A person may look at the last step.", "Yes, with a person at the end."),
            speech("So be it.", "Yes, with a person at the end.", "none", 85),
        ]
        * 2,
        "Pessimist": [
            speech("It learned from biased decisions.", "No."),
            speech("A person would wave it through.", "No."),
            speech("Nobody has shown me otherwise.", "No.", "none", 90),
        ]
        * 2,
        "Pragmatist": [
            speech("Which step of hiring?", "For a first look only."),
            speech("The person must decide.", "With a person.", "Optimist", 70),
            speech("Agreed.", "With a person.", "Optimist", 80),
        ]
        * 2,
        "Moderator": [
            "Two of three would use it with a person at the end; the Pessimist would not.",
            "The same again.",
        ],
    }
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    optimist = Agent(role="You see chances.", name="Optimist", model=model)
    pessimist = Agent(role="You see risks.", name="Pessimist", model=model)
    pragmatist = Agent(role="You ask what works.", name="Pragmatist", model=model)

    debate = Debate(agents=[optimist, pessimist, pragmatist], rounds=2)
    result = await debate.run("Should we adopt AI in hiring?")
    print(result.conclusion)
    print(result.consensus_reached)
    print(result.to_transcript())

    # -- two of three are enough, and the first round in which they meet is the last
    quick = Debate([optimist, pessimist, pragmatist], threshold=0.6, require_consensus=True)
    result = await quick.run("Should we adopt AI in hiring?")
    if result.consensus is not None:
        print(f"Round {result.rounds_completed}: {', '.join(result.consensus.supporters)}: {result.consensus.position}")
    for dissent in result.dissent:
        print(f"{dissent.agent_name} dissents: {dissent.position} ({dissent.reason})")


if __name__ == "__main__":
    asyncio.run(main())
