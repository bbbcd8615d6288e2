"""The end of a task that another node executes: it is told with the task itself, which is as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, Task
from tests.support.runtimes import running, until

Run = Callable[..., Any]
LARGE = 5000


class Busy(BaseAgent):
    """Writes all that a task can have written, fails once, and returns text of the length that it was asked for."""

    async def execute_task(self, task: Task) -> object:
        await self.context.checkpoint({"attempt": task.attempt})
        await self.context.progress(1.0, "nearly there")
        if task.attempt == 1:
            raise ValueError("once")
        return {"text": "x" * task.input_data["length"], "pair": (1, 2.5)}


@pytest.mark.parametrize("length", [10, LARGE])
def test_what_one_waits_for_is_as_it_is_stored(
    store_url: str, run: Run, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(running(store_url, poll_seconds=60))
            there = await stack.enter_async_context(running(store_url, {"worker": Busy}, poll_seconds=60))
            agent_id = there.agents.get("worker").agent_id
            await until(lambda: has(here, agent_id) and there.mail.env.neighbours == 1)
            read: list[str] = []
            find = here.store.tasks.find

            async def count(task_ids: Sequence[str]) -> dict[str, Task]:
                read.extend(task_ids)
                return await find(task_ids)

            monkeypatch.setattr(here.store.tasks, "find", count)
            task_id = await here.submit_task("t", {"length": length}, agent="worker", max_retries=1)
            ended = await here.wait_for_task(task_id, timeout_seconds=20)
            assert ended == here.get_task_status(task_id) and ended.result()["pair"] == [1, 2.5]
            assert (ended.retry_count, ended.progress, ended.checkpoint) == (1, 1.0, {"attempt": 2})
            assert read == ([task_id] if length == LARGE else [])
            own = await there.wait_for_task(task_id)
            assert own == ended

    run(main)


def test_who_executes_it_sees_the_same(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"worker": Busy}) as here:
            task_id = await here.submit_task("t", {"length": 3}, max_retries=1)
            assert await here.wait_for_task(task_id) == here.get_task_status(task_id)

    run(main)


def has(runtime: AgentRuntime, agent_id: str) -> bool:
    return runtime.mail.env.bus.has(agent_id)
