"""Several agents at once on what they share: their instances, a user, a resource, a thread of messages.

Run it with: python examples/orchestration/concurrency.py [--model openai:gpt-6-luna]
Without --model the models are scripted: it needs no key and costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from shoal import (
    Agent,
    AgentRuntime,
    MessageStore,
    ThreadSafeMessageStore,
    Tool,
    UserContextStore,
    get_lock,
    thread_safe_tool,
)
from shoal.llm import ToolCall, scripted
from shoal.orchestration import ParallelAgents

LOG: list[str] = []


def remembers(updates: str) -> Any:
    """Return the model of an agent that keeps a fact about its user."""
    call = ToolCall(call_id="1", name="remember", arguments=f'{{"updates": {updates}}}')
    return scripted([call, "I will remember that."])


def uses(tool: str, **arguments: str) -> Any:
    """Return the model of an agent that calls a tool."""
    return scripted([{"tool_calls": [{"name": tool, "arguments": arguments}]}, "Done."])


# -- Option 1: decorator
@thread_safe_tool("my_resource", key_arg="resource_id")
class Counter(Tool):
    """Count what is done to a resource."""

    async def execute(self, resource_id: str, note: str) -> str:
        """Do something.

        Args:
            resource_id: to what.
            note: what.
        """
        LOG.append(f"{resource_id} begins")  # locked, per resource_id
        await asyncio.sleep(0.01)
        LOG.append(f"{resource_id} ends")
        return note


# -- Option 2: manual locking
class WriteFile(Tool):
    """Append to a file."""

    async def execute(self, file_path: str, content: str) -> str:
        """Append *content*.

        Args:
            file_path: the file.
            content: what is appended.
        """
        async with get_lock("file", file_path):
            text = read(file_path)
            await asyncio.sleep(0.01)  # another agent would write meanwhile
            write(file_path, text + content)
        return "written"


def read(path: str) -> str:
    """Return what stands in a file; nothing, if there is none."""
    return Path(path).read_text() if Path(path).exists() else ""


def write(path: str, text: str) -> None:
    """Put *text* into a file."""
    Path(path).write_text(text)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="provider:name")
    real = parser.parse_args().model

    async with AgentRuntime("concurrency.db") as runtime:
        # -- separate instances: one agent is never in a pattern twice
        agent = Agent(role="Researcher", name="Researcher", model=real or scripted(["x"]))
        try:
            ParallelAgents([agent, agent, agent])
        except ValueError as error:
            print(error)
        ParallelAgents([agent, agent.fork(name="Writer"), agent.fork(name="Analyst")])

        # -- both agents update the same user: nothing is lost
        users, store = UserContextStore(runtime), MessageStore(runtime)
        await users.delete("phil")
        agent1 = Agent(name="One", model=real or remembers('{"name": "Phil"}'), user_context=True, store=store)
        agent2 = Agent(name="Two", model=real or remembers('{"city": "London"}'), user_context=True, store=store)
        await asyncio.gather(
            agent1.chat("Remember my name is Phil", user_id="phil"),
            agent2.chat("Remember I live in London", user_id="phil"),
        )
        print(sorted((await users.get("phil")).items()))

        # -- tools that write to what is shared
        counters = [
            Agent(name=f"Counter {n}", model=real or uses("Counter", resource_id="r1", note="once"), tools=[Counter()])
            for n in (1, 2)
        ]
        await runtime.run(ParallelAgents(counters), "Count once on r1.")
        print(LOG)
        write("shared.txt", "")
        writers = [
            Agent(
                name=f"Writer {letter}",
                model=real or uses("WriteFile", file_path="shared.txt", content=letter),
                tools=[WriteFile()],
            )
            for letter in "abc"
        ]
        await runtime.run(ParallelAgents(writers), "Append your letter to shared.txt.")
        print("".join(sorted(read("shared.txt"))))

        # -- several agents on one thread
        safe = ThreadSafeMessageStore(runtime)
        thread_id = "the-thread"

        async def answer(name: str) -> None:
            async with safe.thread(thread_id):  # the thread for oneself, around several calls
                number = await safe.count(thread_id)
                await safe.add(thread_id, "assistant", f"answer {number}", agent_name=name)

        before = await safe.count(thread_id)
        await asyncio.gather(*(answer(name) for name in ("One", "Two", "Three")))
        recent = await safe.get_recent(thread_id, limit=3)
        print([int(message.content.split()[1]) - before for message in recent])


if __name__ == "__main__":
    asyncio.run(main())
