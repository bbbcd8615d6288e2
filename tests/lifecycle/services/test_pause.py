"""Pauses and drains: what is accepted is kept in order, what is not comes back at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.services import RequestError
from tests.lifecycle.services.test_control import code_of, kill
from tests.support.runtimes import running, until
from tests.support.servers import Echo

LEVELS = ("inline", "thread", "process")
FAST = RestartPolicy(initial_seconds=0.01)


class Ordered(Echo):
    """Tells which requests came before."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.seen: list[int] = []

    async def process_request(self, payload: dict[str, Any]) -> Any:
        if "look" in payload:
            return {"seen": self.seen}
        self.seen.append(payload["n"])
        return {"n": payload["n"]}


@pytest.mark.spec("S8")
@pytest.mark.parametrize(("isolation", "killed"), [*((level, False) for level in LEVELS), ("process", True)])
def test_requests_to_a_paused_service_are_answered_in_order(
    store_url: str, run: Any, isolation: Any, killed: bool
) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            record = await services.start(Ordered, isolation=isolation, restart=FAST)
            assert await services.control(record, "pause") == "Paused"
            assert await services.control(record, "pause") == "Paused"
            asked = [asyncio.ensure_future(services.request(record, {"n": n})) for n in range(50)]
            await asyncio.sleep(0.1)
            status = await services.control(record, "status")
            assert (status["paused"], status["queued"]) == (True, 50)
            assert (await services.control(record, "health"))["state"] == "paused"
            assert await services.discover("echo") == []
            if killed:
                await kill(runtime, record.instance)
            assert await services.control(record, "resume") == "Resumed"
            assert await services.control(record, "resume") == "Resumed"
            assert await asyncio.gather(*asked) == [{"n": n} for n in range(50)]
            assert await services.request(record, {"look": 1}) == {"seen": list(range(50))}
            assert len(await services.discover("echo")) == 1

    run(main)


def test_a_paused_mailbox_is_bounded(store_url: str, run: Any) -> None:
    class Small(Ordered):
        mailbox = 20

    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Small)
            await runtime.services.control(record, "pause")
            asked = [asyncio.ensure_future(runtime.services.request(record, {"n": n})) for n in range(21)]
            await asyncio.sleep(0.1)
            refused = [each for each in asked if each.done()]
            assert [getattr(each.exception(), "code", None) for each in refused] == ["MAILBOX_FULL"]
            await runtime.services.control(record, "resume")
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [answer for answer in answers if not isinstance(answer, RequestError)] == [
                {"n": n} for n in range(20)
            ]

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_drain_finishes_what_was_accepted_and_refuses_the_rest_at_once(
    store_url: str, run: Any, isolation: Any
) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            record = await services.start(Echo, isolation=isolation)
            asked = [asyncio.ensure_future(services.request(record, {"n": n, "pause": 0.1})) for n in range(3)]
            await asyncio.sleep(0.02)
            assert await services.control(record, "drain") == "Draining"
            await until(lambda: services.records()[0].state == "draining")
            assert await services.discover("echo") == []
            began = time.monotonic()
            assert await code_of(services.request(record, {"n": 9})) == "DRAINING"
            assert await code_of(services.request("echo", {"n": 9})) == "DRAINING"
            assert time.monotonic() - began < 0.2
            assert [answer["echo"] for answer in await asyncio.gather(*asked)] == [0, 1, 2]
            async with asyncio.timeout(5):
                while services.records():
                    await asyncio.sleep(0.01)
            assert await code_of(services.request(record, {"n": 9})) == "NOT_FOUND"

    run(main)


def test_what_is_not_done_at_the_end_of_the_grace_is_cancelled(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            asked = [asyncio.ensure_future(runtime.services.request(record, {"n": n, "pause": 30})) for n in range(3)]
            await asyncio.sleep(0.02)
            began = time.monotonic()
            await runtime.services.stop(record.instance, grace=0.2)
            assert time.monotonic() - began < 1
            assert [await code_of(each) for each in asked] == ["CANCELLED"] * 3
            assert runtime.services.records() == []

    run(main)


def test_who_dies_while_it_drains_does_not_come_back(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo, isolation="process", restart=FAST)
            asked = asyncio.ensure_future(runtime.services.request(record, {"n": 1, "pause": 30}))
            await asyncio.sleep(0.05)
            draining = asyncio.ensure_future(runtime.services.stop(record.instance, grace=30))
            await asyncio.sleep(0.05)
            assert record.pid is not None
            os.kill(record.pid, signal.SIGKILL)
            assert await code_of(asked) == "AGENT_DIED"
            await draining
            await asyncio.sleep(0.1)
            assert runtime.services.records() == []
            assert runtime.list_agents() == []

    run(main)


def test_a_second_stop_ends_a_drain_at_once(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            asked = asyncio.ensure_future(runtime.services.request(record, {"n": 1, "pause": 30}))
            await asyncio.sleep(0.02)
            draining = asyncio.ensure_future(runtime.services.stop(record.instance, grace=30))
            await asyncio.sleep(0.02)
            began = time.monotonic()
            await runtime.services.stop(record.instance, grace=0)
            await draining
            assert time.monotonic() - began < 1
            assert await code_of(asked) == "AGENT_DIED"

    run(main)


def test_a_paused_service_is_drained_of_what_it_has_accepted(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            await runtime.services.control(record, "pause")
            asked = [asyncio.ensure_future(runtime.services.request(record, {"n": n})) for n in range(5)]
            await asyncio.sleep(0.05)
            await runtime.services.stop(record.instance)
            assert [answer["echo"] for answer in await asyncio.gather(*asked)] == list(range(5))

    run(main)


def test_run_serves_until_it_is_shut_down(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            agent = Echo()
            assert (agent.registered, agent.record) == (False, None)
            serving = asyncio.ensure_future(agent.run(runtime))
            async with asyncio.timeout(5):
                while not runtime.services.records() or runtime.services.records()[0].state != "running":
                    await asyncio.sleep(0.005)
            assert agent.registered
            assert (await runtime.services.request("echo", {"n": 1}))["echo"] == 1
            await agent.pause()
            assert runtime.services.records()[0].state == "paused"
            await agent.resume()
            await agent.shutdown()
            await asyncio.wait_for(serving, 5)
            assert runtime.services.records() == []

    run(main)
