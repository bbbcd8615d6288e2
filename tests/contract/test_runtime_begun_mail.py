"""Durable mail that comes again is noted before its handler begins; what comes for the first time costs no such write."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shoal import AgentMessage, AgentRuntime, BaseAgent, Task
from shoal.errors import RequestFailedError
from shoal.kernel.ports import Node
from shoal.kernel.redelivery import MAX_DELIVERIES
from shoal.kernel.takeover import process_start, this_boot
from shoal.store.sql.transaction import Reader
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Ear(BaseAgent):
    """Hears what is sent, and holds each message until it is let go; ``fails``: what it cannot bear the first time."""

    def __init__(self, *, fails: object = None, opened: bool = True) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.fails = fails
        self.go = asyncio.Event()
        if opened:
            self.go.set()

    async def on_message(self, message: AgentMessage) -> None:
        self.heard.append(message.data)
        await self.go.wait()
        if message.data == self.fails and message.delivery_count == 1:
            raise ValueError("not the first time")


def noted(runtime: AgentRuntime) -> list[int]:
    """Return the hand-outs that were noted as begun."""
    read = runtime.store.database.read  # type: ignore[attr-defined]
    return [begun for (begun,) in read(Reader.rows, "SELECT begun FROM mail WHERE begun IS NOT NULL")]


def at_work(runtime: AgentRuntime, name: str) -> int:
    return len(runtime._here.post.cells[runtime.get_agent_status(name).agent_id].entries)


async def send(runtime: AgentRuntime, *data: object) -> None:
    for each in data:
        await runtime.send_message(["ear"], "note", each, durable=True)


@pytest.mark.spec("R39")
def test_only_what_comes_again_is_noted(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear(fails=7)
        async with running(url, {"ear": ear}, poll_seconds=0.1) as runtime:
            await send(runtime, *range(20))
            await until(lambda: len(runtime.query_events("message_received")) == 20)
            assert ear.heard == [*range(20), 7]
            assert noted(runtime) == [2]
            assert runtime.dead_letters() == []

    run(main)


@pytest.mark.parametrize("most", [1, 3])
def test_what_comes_for_the_first_time_begins_behind_what_is_noted(url: str, run: Run, most: int) -> None:
    async def main() -> None:
        ear = Ear(opened=False)
        async with running(url, {"ear": ear}, options={"max_concurrent_messages": most}) as runtime:
            await send(runtime, "first")
            await until(lambda: ear.heard == ["first"])
            await runtime.stop_agent("ear", timeout_seconds=0.1)
            await send(runtime, "second", "third")
            ear.heard.clear()
            ear.go.set()
            await runtime.start_agent("ear")
            await until(lambda: len(runtime.query_events("message_received")) == 3)
            assert ear.heard == ["first", "second", "third"]
            assert noted(runtime) == [2]

    run(main)


def test_a_node_that_was_given_up_begins_nothing_that_came_again(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear(opened=False)
        async with running(url, {"ear": ear}, lease_seconds=60) as runtime:
            await send(runtime, "first", "second")
            await until(lambda: ear.heard == ["first"])
            await runtime.stop_agent("ear", timeout_seconds=0.1)
            ear.heard.clear()
            await runtime.start_agent("ear")
            await until(lambda: ear.heard == ["first"])
            leases = runtime.store.leases
            rescue = await leases.rescue(
                [runtime.node_id], now=runtime._clock.now(), max_interruptions=9, max_deliveries=1
            )
            assert [letter.message.data for letter in rescue.letters] == ["first"], "the other waits in its mailbox"
            ear.go.set()
            await until(lambda: not at_work(runtime, "ear"))
            assert ear.heard == ["first"], "another node may be at the second by now"

    run(main)


class Asker(BaseAgent):
    """Waits for an answer to ``c``."""

    async def execute_task(self, task: Task) -> str:
        await self.context.progress(1)
        try:
            await self.context.wait_for_response("c", timeout_seconds=60)
        except RequestFailedError as error:
            return str(error)
        return ""


def test_who_waits_for_the_answer_to_what_is_given_up_hears(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"asker": Asker}) as runtime:
            mail, now = runtime.store.mail, runtime._clock.now()
            asker = runtime.get_agent_status("asker").agent_id
            message = AgentMessage(
                message_id="m", sender_id=asker, sender_name="asker", recipient_ids=("victim",), message_type="query",
                correlation_id="c", durable=True, timestamp=now,
            )  # fmt: skip
            died = subprocess.Popen([sys.executable, "-c", ""])
            died.wait()
            node = Node(
                node_id="n", runtime_id="r", name="n", host=this_boot(), pid=os.getpid(),
                pid_started=process_start(os.getpid()) or 0, started_at=now, lease_until=now.replace(year=now.year + 1),
            )  # fmt: skip
            await runtime.store.leases.join(node, now=now)
            await mail.put(["victim"], message, now=now)
            for _ in range(MAX_DELIVERIES - 1):
                await mail.take("victim", "n", now=now, limit=1)
                await mail.nack("victim", "m", "x", now=now, retry_at=now, max_deliveries=MAX_DELIVERIES)
            await mail.take("victim", "n", now=now, limit=1)
            task_id = await runtime.submit_task("wait", agent="asker")
            await until(lambda: runtime.get_task_status(task_id).progress == 1)
            assert await mail.begin("victim", "m", "n", now=now)
            await runtime.store.leases.join(msgspec.structs.replace(node, pid=died.pid, pid_started=1), now=now)
            said = (await runtime.wait_for_task(task_id, 30)).result()
            assert said == "Agent victim failed: node n was lost while it was handled; it has failed 5 times"

    run(main)
