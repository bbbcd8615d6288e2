"""An agent that pays once, in a durable run: ``python tool_node.py FOLDER EFFECT PLACE STORE``.

PLACE ``inside``: the first life stops in the middle of the tool, to be killed there; ``waiting``: the tool needs an
approval. It says what it asks a person, reads ``approve NOTE`` or ``deny REASON``, and says the result.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from shoal import Agent, AgentRuntime, Tool, ToolContext
from shoal.llm import ToolCall
from shoal.testing import scripted

FOLDER, EFFECT, PLACE, STORE = Path(sys.argv[1]), *sys.argv[2:5]
PAID = FOLDER / "paid.log"


def say(*what: object) -> None:
    print(json.dumps(what), flush=True)


async def pay(ctx: ToolContext, to: str) -> str:
    """Pay somebody."""
    first = not PAID.exists()
    with PAID.open("a") as file:
        file.write(f"{ctx.key}\n")
    if first and PLACE == "inside":
        say("inside")
        await asyncio.Event().wait()
    return f"paid {to}"


async def decide(runtime: AgentRuntime) -> None:
    """Ask whoever has started this."""
    while not (questions := runtime.runs.approvals("pay-bob")):
        await asyncio.sleep(0.01)
    (question,) = questions
    say("asked", question.kind, question.id)
    word, _, note = (await asyncio.to_thread(sys.stdin.readline)).strip().partition(" ")
    if word == "approve":
        await runtime.runs.approve(question.id, "eve", note)
    else:
        await runtime.runs.deny(question.id, "eve", note)


async def main() -> None:
    tool = Tool(pay, effect=EFFECT, approval=PLACE == "waiting")
    call = ToolCall(call_id="c1", name="pay", arguments='{"to": "bob"}')
    model = scripted([call, lambda request: f"told: {request.messages[-1].content}"], log=FOLDER / "model.log")
    agent: Agent[str] = Agent(name="Payer", model=model, tools=[tool])
    async with AgentRuntime(STORE) as runtime:
        deciding = asyncio.create_task(decide(runtime))
        result = await runtime.run(agent, "Pay bob.", run_id="pay-bob")
        deciding.cancel()
        usage = runtime.runs.get("pay-bob").usage
        say("done", str(result), usage.calls, usage.tool_calls)


asyncio.run(main())
