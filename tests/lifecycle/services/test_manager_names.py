"""Processes of a manager under a name of their own, at every level; and services as a client beside them sees them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from shoal.client import Client
from shoal.errors import ConfigError, NotFound
from shoal.services import AgentProcessManager, RestartPolicy, ServiceAgent
from tests.support.runtimes import running, until


class Worker(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "worker", "capabilities": ["work"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("die"):
            os._exit(3)
        return {"by": self.context.name, "pid": os.getpid()}


class Anywhere(AgentProcessManager):
    levels = (*AgentProcessManager.levels, "inline", "thread")


@pytest.mark.parametrize("level", ["inline", "thread", "process"])
def test_they_have_the_name_that_was_given_at_every_level(store_url: str, run: Any, level: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = Anywhere(runtime, isolation=level)
            assert await manager.start_agent_process(Worker, 2, name="fast") == ["fast_0", "fast_1"]
            assert await manager.start_agent_process(Worker) == ["worker_0"]
            assert await manager.start_agent_process(Worker, name="fast") == ["fast_2"]
            answer = await runtime.services.request("fast_1", {})
            assert (answer["pid"] == os.getpid()) == (level != "process")
            with pytest.raises(ConfigError, match="agent name must be"):
                await manager.start_agent_process(Worker, name="x" * 101)
            codes = await manager.stop_all_processes()
            assert set(codes) == ({"fast_0", "fast_1", "fast_2", "worker_0"} if level == "process" else set())
            assert not manager.processes and not runtime.services.records()

    run(main)


def test_what_has_failed_comes_back_or_not(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime, restart=RestartPolicy(max_restarts=1, initial_seconds=0.5))
            (name,) = await manager.start_agent_process(Worker)
            assert not manager.processes[name].comes_back
            with pytest.raises(Exception, match="AGENT_DIED"):
                await runtime.services.request(name, {"die": True})
            await until(lambda: manager.processes[name].state == "failed")
            assert manager.processes[name].comes_back
            await until(lambda: manager.processes[name].state == "running")
            with pytest.raises(Exception, match="AGENT_DIED"):
                await runtime.services.request(name, {"die": True})
            await until(lambda: manager.processes[name].state == "failed" and not manager.processes[name].comes_back)

    run(main)


def test_a_client_finds_asks_and_controls_services_of_a_running_node(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        url = f"sqlite:///{tmp_path}/shoal.db"
        async with running(url) as runtime, Client(store=url) as client:
            first = await runtime.services.start(Worker)
            assert (await client.services.request("worker", {}))["by"] == first.instance
            second = await runtime.services.start(Worker)  # the client hears of it, though it is beside one node only
            async with asyncio.timeout(10):
                while len(found := await client.services.discover("work")) < 2:
                    await asyncio.sleep(0.02)
            assert [record.instance for record in found] == [first.instance, second.instance]
            assert await client.services.control(second.instance, "pause") == "Paused"
            (here, other) = await client.services.control_of.current_records()
            assert (here.state, other.state) == ("running", "paused")
            assert here.lease_expires_at is not None, "as its node knows it"
            with pytest.raises(NotFound):
                await client.services.request("nobody", {})

    run(main)
