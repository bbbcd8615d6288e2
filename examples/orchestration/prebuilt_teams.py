"""Teams that are ready to use: a research team, a debate of pros and cons, a panel of experts.

Run it with: python examples/orchestration/prebuilt_teams.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from shoal.llm import scripted
from shoal.orchestration.debate import create_expert_panel, create_pros_cons_debate
from shoal.orchestration.supervisor import create_research_team

PLAN = [
    {"worker": "Researcher", "task": "Which ciphers fall to quantum computers?"},
    {"worker": "Analyst", "task": "What does that mean for data that is stored today?"},
]
RESEARCH = scripted(
    {
        "Planner": [json.dumps(PLAN), "[]"],
        "Researcher": ["RSA and elliptic curves fall to Shor's algorithm."],
        "Analyst": ["What is recorded now can be read then."],
        "Synthesizer": ["Move long-lived secrets to post-quantum ciphers first."],
    }
)
EXPERTS = [
    "Economist focusing on market dynamics",
    "Sociologist focusing on social impact",
    "Technologist focusing on feasibility",
]


def speech(position: str, agrees: str = "none") -> str:
    """Return what a speaker says: a view, and the ballot that the debate asks for."""
    return f"I have thought about it.\nPOSITION: {position}\nAGREES WITH: {agrees}\nCONFIDENCE: 70"


DEBATES = scripted(
    {
        "Advocate": [speech("Permanent.")] * 3,
        "Critic": [speech("Temporary.")] * 3,
        "Pragmatist": [speech("Two days a week.")] * 3,
        **{
            f"Expert_{number}": [speech("Try it in one city.", "Expert_1, Expert_2, Expert_3")] * 3
            for number in (1, 2, 3)
        },
        "Moderator": ["That is where they stand."],
    }
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name")
    model = parser.parse_args().model

    team = create_research_team(model=model or RESEARCH)
    print("Team:", ", ".join(team.workers))
    found = await team.run("What are the implications of quantum computing for cryptography?")
    print(found.content, found.successful_workers)

    debate = create_pros_cons_debate(model=model or DEBATES)
    decided = await debate.run("Remote work: permanent or temporary?")
    print(decided.conclusion, "Consensus:", decided.consensus_reached)

    panel = create_expert_panel(expert_roles=EXPERTS, model=model or DEBATES)
    heard = await panel.run("Impact of universal basic income", context=found.content)
    print(sorted(heard.by_agent), "Consensus:", heard.consensus_reached)


if __name__ == "__main__":
    asyncio.run(main())
