"""A plain message that comes in the moment in which an agent has drained is handled, or its sender hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentMessage, AgentRuntime, BaseAgent
from shoal.errors import DeadAgentError
from shoal.kernel.cell import Cell
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Ear(BaseAgent):
    """Keeps what it was told; the first message takes until somebody lets it go on."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.go_on = asyncio.Event()

    async def on_message(self, message: AgentMessage) -> None:
        self.heard.append(message.data)
        if message.data == 1:
            await self.go_on.wait()


async def draining(runtime: AgentRuntime, ear: Ear) -> tuple[Cell, asyncio.Future[None]]:
    """Begin to drain the agent while it handles its first message."""
    await runtime.send_message(["ear"], "note", 1)
    await until(lambda: ear.heard)
    drain = asyncio.ensure_future(runtime.agents.drain("ear", 30))
    cell = runtime.mail.cells[runtime.agents.get("ear").agent_id]
    await until(lambda: cell.drained is not None)
    return cell, drain


def test_what_comes_when_nothing_is_left_is_refused(store_url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear()
        async with running(store_url, {"ear": ear}) as runtime:
            cell, drain = await draining(runtime, ear)
            refused: list[DeadAgentError] = []

            def late(_: object) -> None:
                with pytest.raises(DeadAgentError) as error:
                    cell.inbox.offer(runtime.mail.writing.message(None, "note", 2, recipient_ids=(cell.agent_id,)))
                refused.append(error.value)

            assert cell.drained is not None
            cell.drained.add_done_callback(late)  # before whoever drains hears of it
            ear.go_on.set()
            await drain
            assert [error.reason for error in refused] == ["stopped"]
            assert ear.heard == [1]

    run(main)


def test_what_is_on_its_way_from_the_store_is_handled(
    store_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        ear = Ear()
        async with running(store_url, {"ear": ear}, poll_seconds=60) as runtime:
            mail, taken, let_through = runtime.store.mail, asyncio.Event(), asyncio.Event()
            take = mail.take

            async def slow(*args: Any, **options: Any) -> list[AgentMessage]:
                messages = await take(*args, **options)
                taken.set()
                await let_through.wait()
                return messages

            monkeypatch.setattr(mail, "take", slow)
            cell, drain = await draining(runtime, ear)
            message = runtime.mail.writing.message(None, "note", 2, recipient_ids=(cell.agent_id,))
            await mail.put([cell.agent_id], message, now=message.timestamp)  # as another node does, behind durable mail
            runtime.mail.mail_waits(cell.agent_id)
            await taken.wait()
            ear.go_on.set()
            await until(lambda: not cell.entries)
            assert cell.drained is not None and not cell.drained.done()
            let_through.set()
            await drain
            assert ear.heard == [1, 2]

    run(main)
