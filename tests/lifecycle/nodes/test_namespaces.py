"""Two deployments on one PostgreSQL database and one NATS: neither sees, or disturbs, anything of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, Task
from shoal.services import AgentInfo, ServiceAgent
from tests.support.runtimes import until

Run = Callable[..., Any]


class Clerk(BaseAgent):
    """Notes what comes to it, in the name of its deployment."""

    heard: list[Any]

    async def on_start(self) -> None:
        self.heard = []
        await self.context.subscribe("news")

    async def execute_task(self, task: Task) -> dict[str, Any]:
        await self.context.shared.set("last", task.input_data["of"])
        return {"of": self.config["of"]}

    async def on_message(self, message: Any) -> dict[str, Any]:
        self.heard.append(message.data)
        return {"of": self.config["of"], "heard": self.heard}


class Speaker(ServiceAgent):
    """A service of one name in both."""

    def info(self) -> AgentInfo:
        return AgentInfo("speaker", ("speaking",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"of": self.config["of"]}


@asynccontextmanager
async def _deployment(name: str, store: str, bus: str | None) -> AsyncIterator[tuple[AgentRuntime, AgentRuntime]]:
    """Run two nodes, ``here`` and ``there``; the clerk and the service are there."""
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(AgentRuntime(store=store, bus=bus, node=node)) for node in ("here", "there")
        ]
        await there.start_agent(await there.register_agent("clerk", Clerk, {"of": name}, capabilities=["work"]))
        await there.services.start(Speaker, {"of": name}, instance="speaker_0")
        yield here, there


@pytest.mark.parametrize("bus", ["nats", "postgres"])
def test_two_deployments_on_the_same_servers(
    bus: str, postgres_url: str, request: pytest.FixtureRequest, run: Run
) -> None:
    space = request.getfixturevalue("nats_url") if bus == "nats" else None
    places = {name: (f"{postgres_url}?schema={name}", space and f"{space}_{name}") for name in ("east", "west")}

    async def main() -> None:
        async with _deployment("east", *places["east"]) as east, _deployment("west", *places["west"]) as west:
            sides = {"east": east, "west": west}
            for name, (here, there) in sides.items():
                assert sorted(node.name for node in here.store.leases.nodes()) == ["here", "there"]
                await until(lambda node=here: [each.state for each in node.services.records()] == ["running"])  # type: ignore[misc]
                tasks = [await here.submit_task("work", {"of": name}, capability="work") for _ in range(20)]
                done = await here.wait_for_tasks(tasks, timeout_seconds=30)
                assert {task.output_data["of"] for task in done} == {name}
                assert await there.shared.get("last") == name
                assert (await here.services.request("speaker", {})) == {"of": name}
                assert await here.publish("news", f"of {name}") == 1, "one subscriber, the own one"
            for name, (here, there) in sides.items():
                answer = (await here.request("clerk", "what", "asked")).data
                assert answer == {"of": name, "heard": [f"of {name}", "asked"]}
                assert here.store.tasks.counts()["completed"] == 20
                assert len(here.query_events("task_completed")) == 20
                assert [agent.name for agent in there.list_agents()] == ["clerk", "speaker_0"]
            await east[1].drain(5)
            assert (await west[0].request("clerk", "what", "again")).data["of"] == "west"
            assert sorted(node.name for node in west[0].store.leases.nodes()) == ["here", "there"]

    run(main)
