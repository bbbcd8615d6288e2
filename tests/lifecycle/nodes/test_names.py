"""Names of agents on other nodes: looked up once, as long as the agent is there, and never answered by an old one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shoal import AgentNotFoundError, AgentRuntime, BaseAgent
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Answering(BaseAgent):
    """Says on which node it lives, and which one it is."""

    async def on_message(self, message: Any) -> object:
        return [self.context.node_id, self.context.agent_id]

    async def execute_task(self, task: Any) -> object:
        return self.context.agent_id


def test_a_name_is_looked_up_anew_when_its_agent_has_gone(
    store_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(running(store_url))
            first = await stack.enter_async_context(running(store_url, {"worker": Answering}))
            second = await stack.enter_async_context(running(store_url))
            looked: list[str] = []
            resolve = here.store.agents.resolve

            def look(address: str) -> str:
                looked.append(address)
                return resolve(address)

            monkeypatch.setattr(here.store.agents, "resolve", look)
            await until(lambda: has(here, first.agents.get("worker").agent_id))
            for _ in range(3):
                reply = await here.request("worker", "ask", None, timeout_seconds=20)
                assert reply.data == [first.node_id, first.agents.get("worker").agent_id]
            task = await here.wait_for_task(await here.submit_task("t", agent="worker"), timeout_seconds=20)
            assert task.result() == first.agents.get("worker").agent_id
            assert looked == ["worker"], "once, as long as it is there"
            old = first.agents.get("worker").agent_id
            await first.stop_agent("worker")
            await first.unregister_agent("worker")
            await second.register_agent("worker", Answering)
            await second.start_agent("worker")
            new = second.agents.get("worker").agent_id
            await until(lambda: has(here, new) and not has(here, old))
            assert (await here.request("worker", "ask", None, timeout_seconds=20)).data == [second.node_id, new]
            await second.stop_agent("worker")
            await second.unregister_agent("worker")
            await until(lambda: not has(here, new))
            with pytest.raises(AgentNotFoundError, match="worker"):
                await here.request("worker", "ask", None, timeout_seconds=20)

    run(main)


def has(runtime: AgentRuntime, agent_id: str) -> bool:
    """Tell whether a node reaches an agent."""
    return runtime.mail.env.bus.has(agent_id)
