"""Two agents disagree: both are heard, a rule says who is right, the lead decides within it, and all is on record.

Run it with: python examples/workflow/conflict.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from shoal import Agent
from shoal.llm import scripted
from shoal.orchestration import Orchestrator, Position

SCRIPT = scripted(
    {
        "Developer": [
            json.dumps(
                {
                    "statement": "We should use synchronous hashing for performance",
                    "evidence": ["bench_login.py: 412 logins/s, 318 with a thread for each hash"],
                    "tags": ["performance"],
                }
            )
        ],
        "Reviewer": [
            json.dumps(
                {
                    "statement": "Synchronous hashing is vulnerable to timing attacks",
                    "evidence": ["CWE-208", "auth_api.py:88 answers 240 ms sooner when there is no such user"],
                    "tags": ["security"],
                }
            )
        ],
        "Lead": [
            json.dumps(
                {
                    "analysis": "The time of an answer tells who has an account; a thread for each hash costs a quarter.",
                    "proposal": "async with security",
                    "decision": "Use bcrypt (async-compatible) with proper\ntiming attack protection.",
                    "result": "Security wins, but performance impact minimized.",
                    "winner": "Reviewer",
                    "keeps_constraint": True,
                }
            )
        ],
    }
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SCRIPT, help="provider:name")
    model = parser.parse_args().model

    team = Orchestrator(
        Agent(name="Lead", role="Plans, designs, decides", model=model),
        {
            "Developer": Agent(name="Developer", role="Writes code and tests", model=model),
            "Reviewer": Agent(name="Reviewer", role="Looks for faults, of security first", model=model),
        },
    )
    record = await team.resolve(
        "How the login of the authentication API hashes passwords",
        [  # they are asked for the evidence that is missing here, each alone
            Position(agent="Developer", statement="We should use synchronous hashing for performance"),
            Position(agent="Reviewer", statement="Synchronous hashing is vulnerable to timing attacks"),
        ],
        requirements=["Secure password hashing"],
    )
    print(record.to_text())

    # -- what is on record beside it
    print(f"\nDecided by: {record.rule}")
    for position in record.positions:
        for evidence in position.evidence:
            print(f"Evidence of {position.agent}: {evidence}")
    for position in record.dissent:
        print(f"Dissent of {position.agent}: {position.statement}")


if __name__ == "__main__":
    asyncio.run(main())
