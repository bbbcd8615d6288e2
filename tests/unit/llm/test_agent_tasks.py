"""Agents inside the task of a runtime's agent: what they do is journaled with the task, so a retried attempt replays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime, RetryPolicy, Task
from shoal.llm import scripted

Run = Callable[..., Any]


class Writer:
    """It asks a model twice, once in pieces, and fails once after both answers."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._log = config["log"]

    async def execute_task(self, task: Task) -> Any:
        agent = Agent(name="Ann", model=scripted(["first answer", "second answer in pieces"], log=self._log, cost=0.5))
        first = await agent.chat("one")
        stream = agent.stream("two")
        kinds = [(event.offset, event.attempt, event.kind) async for event in stream]
        second = await stream.result()
        failed = Path(self._log + ".failed")
        if not failed.exists():
            failed.touch()
            raise RuntimeError("the attempt fails after both answers")
        cost = first.cost + second.cost
        return {"said": [first.content, second.content], "kinds": kinds, "cost": cost, "id": stream.id}


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_retried_attempt_replays_its_chats(isolation: Any, tmp_path: Path, run: Run) -> None:
    log = tmp_path / "calls.log"

    async def main() -> None:
        async with AgentRuntime(tmp_path / "s.db") as runtime:
            config = {"log": str(log)}
            agent_id = await runtime.register_agent("writer", Writer, config=config, isolation=isolation)
            await runtime.start_agent(agent_id)
            task_id = await runtime.submit_task(
                "write", agent="writer", retry=RetryPolicy(max_retries=2, initial_seconds=0.01)
            )
            result = (await runtime.wait_for_task(task_id)).result()
            assert result["said"] == ["first answer", "second answer in pieces"]
            assert result["cost"] == 1.0
            assert len(log.read_text().splitlines()) == 2, "no call was made again"
            events = [event async for event in runtime.stream(result["id"])]
            assert [event.offset for event in events] == list(range(1, len(events) + 1))
            assert (
                "".join(event.text for event in events if event.attempt == events[-1].attempt)
                == "second answer in pieces"
            )

    run(main)
