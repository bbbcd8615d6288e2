"""SIGTERM from outside to the process of one agent: it is drained and gone; a second one ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from shoal import EventFilter
from shoal.kernel.agent import RestartPolicy
from shoal.services import AgentProcessManager, AgentRecord, ServiceAgent
from tests.lifecycle.services.test_control import code_of
from tests.support.processes import gone
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Echo

FAST = RestartPolicy(initial_seconds=0.02)


def terminate(record: AgentRecord) -> None:
    assert record.pid is not None
    os.kill(record.pid, signal.SIGTERM)


async def began(runtime: Any, count: int) -> None:
    """Wait until *count* requests are handled by the one service there is."""
    (record,) = runtime.services.records()
    cell = runtime.services.node.registrations[record.uuid].cell
    await until(lambda: len(cell.entries) == count)


@pytest.mark.spec("S49")
def test_the_first_drains_and_nothing_is_started_again(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            echo = await services.start(Echo, isolation="process", restart=FAST)
            work = [asyncio.ensure_future(services.request(echo, {"n": n, "pause": 0.3})) for n in range(3)]
            await began(runtime, 1)  # two more wait in its mailbox
            terminate(echo)
            await until(lambda: services.records()[0].state == "draining")
            assert await services.discover("echo") == []
            assert await code_of(services.request(echo, {"n": 9})) == "DRAINING"
            assert [answer["echo"] for answer in await asyncio.gather(*work)] == [0, 1, 2]
            assert echo.pid is not None
            await until(lambda: not services.records() and gone(echo.pid or 0))
            told = [e.event_type for e in runtime.store.events.scan(EventFilter(agent_id=echo.uuid))]
            assert told.count("agent_stopped") == 1
            assert not {"agent_failed", "agent_restarted"} & set(told)
            assert told[-1] == "agent_unregistered" or "service_left" in told

    run(main)


@pytest.mark.spec("S49")
def test_the_second_ends_it_at_once(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            echo = await services.start(Echo, isolation="process", restart=FAST)
            work = asyncio.ensure_future(services.request(echo, {"pause": 30}))
            await began(runtime, 1)
            terminate(echo)
            await until(lambda: services.records()[0].state == "draining")
            terminate(echo)
            since = time.monotonic()
            assert await code_of(work) == "AGENT_DIED"
            assert time.monotonic() - since < 1.0
            await until(lambda: not services.records())
            await asyncio.sleep(0.2)
            assert not services.records(), "it was told to end: nobody starts it again"

    run(main)


def test_what_is_not_done_within_the_grace_is_cancelled(store_url: str, run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("shoal.services.control.GRACE_SECONDS", 0.2)

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            echo = await runtime.services.start(Echo, isolation="process")
            work = asyncio.ensure_future(runtime.services.request(echo, {"pause": 30}))
            await began(runtime, 1)
            terminate(echo)
            assert await code_of(work) == "CANCELLED"
            await until(lambda: not runtime.services.records())

    run(main)


def test_a_loop_that_is_held_up_is_ended_by_the_second(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            stuck = await runtime.services.start(Stuck, isolation="process", restart=RestartPolicy(mode="never"))
            work = asyncio.ensure_future(runtime.services.request(stuck, {}))
            await began(runtime, 1)
            await asyncio.sleep(0.1)
            terminate(stuck)
            await asyncio.sleep(0.1)
            assert not work.done()
            terminate(stuck)
            assert await code_of(work) == "AGENT_DIED"

    run(main)


class Stuck(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "stuck", "capabilities": ["stuck"]}

    async def process_request(self, payload: dict[str, Any]) -> Any:
        while True:
            pass


def test_a_manager_does_not_replace_what_was_told_to_end(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            manager = AgentProcessManager(runtime)
            await manager.start_agent_process(Echo, count=2)
            os.kill(manager.processes["echo_0"].pid or 0, signal.SIGTERM)
            await until(lambda: list(manager.processes) == ["echo_1"])
            await asyncio.sleep(0.3)
            assert [record.instance for record in runtime.services.records()] == ["echo_1"]
            assert await manager.stop_all_processes() == {"echo_1": 0}

    run(main)


def test_an_agent_that_is_no_service_finishes_its_task_and_stops(store_url: str, run: Any) -> None:
    async def slow(task: Any) -> int:
        await asyncio.sleep(0.3)
        return os.getpid()

    async def main() -> None:
        async with running(store_url, {"slow": slow}, options={"isolation": "process"}) as runtime:
            task_id = await runtime.submit_task("t", {}, agent="slow")
            pid = runtime.get_agent_status("slow").process_id
            assert pid is not None
            await until(lambda: runtime.get_task_status(task_id).status == "running")
            os.kill(pid, signal.SIGTERM)
            assert (await runtime.wait_for_task(task_id)).output_data == pid
            await until(lambda: runtime.get_agent_status("slow").status == "stopped" and gone(pid))
            assert runtime.get_agent_status("slow").restart_count == 0

    run(main)
