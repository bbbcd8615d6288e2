"""A debate that is killed half-way, as by kill -9, and goes on when the program is started again.

Start it twice: python examples/orchestration/durable.py [--model openai:gpt-6-luna]
The first time it kills itself in the second round. The second time it goes on there: what was answered before is not asked
again, and is not paid for again. A third time it gives the recorded result, and asks nobody.
To begin anew, remove debate.db.
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from shoal import Agent, AgentRuntime
from shoal.llm import scripted
from shoal.orchestration import Debate
from shoal.testing import kill_at

STORE, CALLS, RUN_ID = Path("debate.db"), Path("calls.jsonl"), "four-day-week"
NAMES = ("Optimist", "Pessimist", "Pragmatist")
ROUNDS = 2


def script() -> Any:
    """Return a model that writes a line into a file for each real call, so that calls can be counted over kills."""
    says = {name: [f"{name}, round {number}." for number in range(ROUNDS + 1)] for name in NAMES}
    return scripted({**says, "Moderator": ["They will try it for a quarter."]}, cost=0.01, log=CALLS)


def is_first_start() -> bool:
    """Tell whether there is nothing to go on with."""
    return not STORE.exists()


def calls() -> int:
    """Return how many calls of the scripted models were made, in all lives of the program."""
    return len(CALLS.read_text().splitlines()) if CALLS.exists() else 0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name")
    model = parser.parse_args().model or script()
    if is_first_start():
        print("First start: it will be killed in round 1.")
        kill_at("r1/1:Pessimist/model1", "before")  # the step of the Pessimist's first call in round 1
        sys.stdout.flush()
    before = calls()

    async with AgentRuntime(STORE, config={"lease_seconds": 2}) as runtime:
        debate = Debate(
            [Agent(role=f"You are a {name.lower()}.", name=name, model=model) for name in NAMES],
            rounds=ROUNDS,
            parallel_responses=False,
        )
        result = await runtime.run(debate, "A four-day week?", run_id=RUN_ID)
        print(result.conclusion)
        print(f"{len(result.messages)} messages and a conclusion for ${result.total_cost:.2f}")
        if calls():  # a real model's are not counted
            print(f"Calls now: {calls() - before}, in all lives: {calls()}, paid for: {result.usage.calls}")


if __name__ == "__main__":
    asyncio.run(main())
