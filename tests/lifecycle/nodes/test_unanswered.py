"""Who waits for the answer of an agent on another node hears at once that none will come, and why."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentMessage, AgentRuntime, BaseAgent, Task
from shoal.errors import DeadAgentError, MessageExpiredError, RequestFailedError, ShoalError
from tests.support.nodes import Fleet
from tests.support.runtimes import running, until

Run = Callable[..., Any]
PATIENCE = 60.0  # of the askers: longer than a test may take


class Asker(BaseAgent):
    """Asks under a correlation, waits for the answer, and returns what it heard in place of one."""

    async def execute_task(self, task: Task) -> list[Any]:
        await self.context.send_message(task.input_data["asked"], "query", "x", "c", **task.input_data["options"])
        await self.context.progress(1)
        try:
            await self.context.wait_for_response("c", timeout_seconds=PATIENCE)
        except ShoalError as error:
            return [type(error).__name__, str(error), vars(error)]
        return []


class Fails(BaseAgent):
    """Cannot answer."""

    async def on_message(self, message: AgentMessage) -> None:
        raise LookupError("no such thing")


class Shut(BaseAgent):
    """Has a mailbox into which it never looks."""

    async def execute_task(self, task: Task) -> None: ...


async def asks(runtime: AgentRuntime, *asked: str, **options: Any) -> str:
    return await runtime.submit_task("ask", {"asked": asked, "options": options}, agent=f"asker-{runtime.node_id}")


async def heard(runtime: AgentRuntime, task_id: str) -> tuple[str, str, dict[str, Any]]:
    name, text, attributes = (await runtime.wait_for_task(task_id, PATIENCE / 2)).result()
    return name, text, attributes


async def node(stack: AsyncExitStack, url: str, agents: dict[str, Any] | None = None) -> AgentRuntime:
    runtime = await stack.enter_async_context(running(url, agents, poll_seconds=0.1))
    await runtime.start_agent(await runtime.register_agent(f"asker-{runtime.node_id}", Asker))
    return runtime


async def meet(runtime: AgentRuntime, *names: str) -> None:
    ids = [runtime.store.agents.resolve(name) for name in names]
    await until(lambda: all(map(runtime.mail.env.bus.has, ids)))


@pytest.mark.spec("R36")
@pytest.mark.parametrize("durable", [False, True])
def test_that_it_failed_or_expired_is_told_to_another_node(store_url: str, run: Run, durable: bool) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            there = await node(stack, store_url, {"fails": Fails, "shut": Shut})
            here = await node(stack, store_url)
            await meet(here, "fails", "shut")
            await meet(there, f"asker-{here.node_id}")
            task_id = await asks(here, "shut", ttl_seconds=0.05, durable=durable)
            expired = MessageExpiredError.__name__, "The message to 'shut' expired before it was taken"
            assert (await heard(here, task_id))[:2] == expired
            if durable:  # one that failed comes again for minutes
                return
            name, text, attributes = await heard(here, await asks(here, "fails"))
            assert (name, text) == (RequestFailedError.__name__, "'fails' failed: LookupError: no such thing")
            assert attributes["error_type"] == "LookupError" and "no such thing" in attributes["traceback"]

    run(main)


@pytest.mark.spec("R36")
def test_who_is_stopped_with_mail_answers_nobody(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            there = await node(stack, store_url, {"shut": Shut})
            here = await node(stack, store_url)
            await meet(here, "shut")
            await meet(there, f"asker-{here.node_id}")
            task_id = await asks(here, "shut")
            await until(lambda: here.get_task_status(task_id).progress == 1)
            await there.stop_agent("shut")
            name, _, attributes = await heard(here, task_id)
            assert (name, attributes["reason"]) == (DeadAgentError.__name__, "stopped")

    run(main)


@pytest.mark.spec("R36")
def test_all_nodes_hear_of_a_node_that_was_killed(store_url: str, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            nodes = [await node(stack, store_url) for _ in range(3)]
            with Fleet(store_url, tmp_path).node("victim", crowd=1) as victim:
                waiting = []
                for each in nodes:
                    await meet(each, "idle-victim-0")
                    waiting.append((each, await asks(each, "idle-victim-0")))
                await until(lambda: all(each.get_task_status(task_id).progress == 1 for each, task_id in waiting))
                victim.signal(signal.SIGKILL)
                for each, task_id in waiting:
                    name, _, attributes = await heard(each, task_id)
                    assert (name, attributes["reason"]) == (DeadAgentError.__name__, "node_lost")

    run(main)
