"""Exclusive services: whatever their instances are called, and on however many nodes, one lives."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.errors import AgentNameTakenError
from shoal.kernel.agent import RestartPolicy
from shoal.runtime import AgentRuntime
from shoal.services import AgentInfo
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Echo


class Boss(Echo):
    def info(self) -> AgentInfo:
        return AgentInfo(self.config.get("name", "boss"), ("lead",), exclusive=True)


class Deputy(Echo):
    def info(self) -> AgentInfo:
        return AgentInfo("boss", ("help",))


@asynccontextmanager
async def three(url: str) -> AsyncIterator[list[AgentRuntime]]:
    async with (
        running(url, limits=UNLIMITED) as one,
        running(url, limits=UNLIMITED) as two,
        running(url, limits=UNLIMITED) as three,
    ):
        yield [one, two, three]


async def free(start: Any) -> Any:
    """Try to start until the name is free."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await start()
            except AgentNameTakenError:
                await asyncio.sleep(0.02)


def test_of_three_nodes_one_has_it(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with three(store_url) as nodes:
            for round_ in range(15):
                starts = [
                    node.services.start(Boss, {"name": f"boss{round_}"}, instance=f"boss{round_}_{number}")
                    for number, node in enumerate(nodes)
                ]
                ended = await asyncio.gather(*starts, return_exceptions=True)
                won = [each for each in ended if not isinstance(each, BaseException)]
                lost = [each for each in ended if isinstance(each, BaseException)]
                assert len(won) == 1, ended
                assert all(isinstance(each, AgentNameTakenError) for each in lost)
                living = [each.name for each in nodes[0].list_agents() if each.name.startswith(f"boss{round_}_")]
                assert living == [won[0].instance], "who has lost is not known"

    run(main)


def test_it_is_free_again_when_its_holder_has_ended(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with three(store_url) as (one, two, _):
            first = await one.services.start(Boss, instance="boss_0")
            with pytest.raises(AgentNameTakenError, match="boss_0"):
                await two.services.start(Boss, instance="boss_1")
            with pytest.raises(AgentNameTakenError, match="boss_0"):
                await one.services.start(Deputy)
            await one.services.stop(first.instance)
            second = await free(lambda: two.services.start(Boss, instance="boss_1"))
            with pytest.raises(AgentNameTakenError, match="boss_1"):
                await one.services.start(Boss, instance="boss_0")
            assert [each.instance for each in two.services.records()] == [second.instance]

    run(main)


def test_who_is_started_again_keeps_it(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with three(store_url) as (one, two, _):
            slow = RestartPolicy(initial_seconds=0.5)
            first = await one.services.start(Boss, isolation="process", instance="boss_0", restart=slow)
            cell = one.services.node.registrations[first.uuid].cell
            assert cell is not None
            cell.handle.kill()
            await until(lambda: one.get_agent_status("boss_0").status == "failed")
            for node in (one, two):
                with pytest.raises(AgentNameTakenError, match="boss_0"):
                    await node.services.start(Boss, instance="boss_1")
            await until(lambda: one.get_agent_status("boss_0").status == "running")

    run(main)


def test_who_stays_failed_has_it_no_more_on_its_own_node(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as one:
            never = RestartPolicy(mode="never")
            first = await one.services.start(Boss, isolation="process", instance="boss_0", restart=never)
            cell = one.services.node.registrations[first.uuid].cell
            assert cell is not None
            cell.handle.kill()
            await until(lambda: one.get_agent_status("boss_0").status == "failed")
            second = await free(lambda: one.services.start(Boss, instance="boss_1"))
            assert second.instance == "boss_1"

    run(main)


NODE = """
import asyncio, sys
from shoal.runtime import AgentRuntime
from tests.lifecycle.services.test_exclusive import Boss

async def main():
    async with AgentRuntime(store=sys.argv[1], config={"lease_seconds": 2}) as runtime:
        record = await runtime.services.start(Boss, instance="boss_0")
        print(record.uuid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_it_is_free_when_the_node_of_its_holder_is_given_up(store_url: str, run: Any, number: int) -> None:
    async def main() -> None:
        node = subprocess.Popen([sys.executable, "-c", NODE, store_url], stdout=subprocess.PIPE, text=True)
        try:
            assert node.stdout is not None
            uuid = (await asyncio.to_thread(node.stdout.readline)).strip()
            async with running(store_url, lease_seconds=2) as runtime:
                with pytest.raises(AgentNameTakenError, match="boss_0"):
                    await runtime.services.start(Boss, instance="boss_1")
                node.send_signal(number)
                second = await free(lambda: runtime.services.start(Boss, instance="boss_1"))
                assert second.uuid != uuid
                if number == signal.SIGSTOP:  # it wakes up, has lost its lease, and its boss is nobody's
                    node.send_signal(signal.SIGCONT)
                    await asyncio.sleep(1.0)
                assert (await runtime.services.request("boss", {"n": 1}))["echo"] == 1
                known = runtime.services.records
                await until(lambda: [each.instance for each in known() if each.state == "running"] == ["boss_1"])
        finally:
            node.kill()
            node.wait()
            assert node.stdout is not None
            node.stdout.close()

    run(main)


def test_an_agent_from_outside_and_one_of_a_node_do_not_share_it(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with three(store_url) as (one, two, _):
            for round_ in range(10):
                name = f"boss{round_}"
                info = AgentInfo(name, ("lead",), exclusive=True)
                ended = await asyncio.gather(
                    one.services.start(Boss, {"name": name}, instance=f"{name}_0"),
                    two.services.directory.outside.register(info, None, 30.0),
                    return_exceptions=True,
                )
                assert sum(isinstance(each, AgentNameTakenError) for each in ended) == 1, ended

    run(main)
