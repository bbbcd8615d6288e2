"""Receiving under a time-out of the agent's own: what is under way to it when it gives up is its next mail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import BaseAgent, Task
from tests.support.runtimes import running

Run = Callable[..., Any]


class GivesUp(BaseAgent):
    """Stands still while mail is on its way to it, then gives up the call, and then takes all mail there is."""

    async def execute_task(self, task: Task) -> list[Any]:
        if not task.input_data["last"]:
            await self.context.progress(1)
            while not Path(task.input_data["flag"]).exists():
                await asyncio.sleep(0.001)
            had = await self.take_one(task)
            return had + [message.data for message in await self.context.receive_messages()]
        given_up = asyncio.ensure_future(self.take_one(task))
        await self.context.progress(1)  # the runtime hears of the other call before this one
        while not Path(task.input_data["flag"]).exists():
            time.sleep(0.001)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        return []

    async def take_one(self, task: Task) -> list[Any]:
        if task.name == "wait_for_response":
            return [(await self.context.wait_for_response("c", timeout_seconds=10)).data]
        return [m.data for m in await self.context.receive_messages(block=True, timeout_seconds=10, limit=1)]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("verb", ["receive_messages", "wait_for_response"])
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_result_under_way_to_who_gave_up_is_not_lost(
    store_url: str, tmp_path: Path, run: Run, isolation: str, verb: str, durable: bool
) -> None:
    async def main() -> None:
        async with running(store_url, {"a": GivesUp}, options={"isolation": isolation}) as runtime:
            sent: list[int] = []
            for last in (True, False):
                flag = tmp_path / str(last)
                task_id = await runtime.submit_task(verb, {"flag": str(flag), "last": last})
                while runtime.get_task_status(task_id).progress != 1:
                    await asyncio.sleep(0.002)
                for _ in range(2):
                    sent.append(len(sent))
                    await runtime.send_message(["a"], "n", sent[-1], "c", durable=durable)
                while runtime.get_agent_status("a").mailbox_size != len(sent) - last:
                    await asyncio.sleep(0.002)
                flag.touch()
                task = await runtime.wait_for_task(task_id, 20)
                assert task.output_data == ([] if last else sent)
            assert len(runtime.query_events("message_received")) == (len(sent) if durable else 0)

    run(main)
