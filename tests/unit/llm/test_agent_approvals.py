"""Approvals as those see them who read a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal import Agent, AgentRuntime, tool
from shoal.llm import ChatStream, scripted
from tests.unit.llm.agents import call

Run = Callable[..., Any]


class Streaming:
    """An agent that streams where it is asked."""

    name = "Speaker"
    journaled = True

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.stream: asyncio.Future[ChatStream[Any]] = asyncio.get_running_loop().create_future()

    async def chat(self, message: str, user_id: str = "default") -> Any:
        stream = self._agent.stream(message)
        self.stream.set_result(stream)
        return await stream.result()


def test_a_question_to_a_person_comes_in_the_stream_and_so_does_the_answer(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        @tool(approval=True)
        def pay(amount: int) -> str:
            return f"paid {amount}"

        agent = Agent(name="Cashier", model=scripted([call("pay", amount=5), "done"]), tools=[pay])
        async with AgentRuntime(tmp_path / "s.db") as runtime:
            streaming = Streaming(agent)
            handle = runtime.run(streaming, "pay five", run_id="r1")
            found = []
            async for event in await streaming.stream:
                found.append((event.kind, event.data.get("decision", "")))
                if event.kind == "approval" and "decision" not in event.data:
                    await runtime.runs.approve(event.data["id"], by="phil")
            assert [kind for kind, _ in found] == ["tool_call", "approval", "approval", "tool_result", "text", "done"]
            assert found[2] == ("approval", "approved")
            assert (await handle).content == "done"

    run(main)
