"""Answers to requests whose askers have given up: dropped, counted, and never taken for those of others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent
from tests.lifecycle.services.test_control import code_of
from tests.support.runtimes import UNLIMITED, running, until

PATIENCE = 0.1


class Stubborn(ServiceAgent):
    """Answers although it was told to end: by what it returns, or by ``send_response``."""

    def info(self) -> dict[str, Any]:
        return {"name": "late", "capabilities": ["late"], "type": "server"}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.sleep(payload["seconds"])
        except asyncio.CancelledError:
            await asyncio.sleep(PATIENCE)
        if payload.get("sends"):
            self.send_response(n=payload["n"])
        return {"n": payload["n"]}


class Deaf(Stubborn):
    """Does so in a thread, which hears of nothing."""

    def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        threading.Event().wait(payload["seconds"] and 3 * PATIENCE)
        self.send_response(n=payload["n"])
        return {}


class Asker(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "asker", "capabilities": ["ask"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self.send_request("late", payload, timeout=PATIENCE if payload["seconds"] else None)
        except RequestError as error:
            return {"code": error.code}


def late(runtime: AgentRuntime) -> int:
    return int(runtime.get_metrics()["late_replies"])


@pytest.mark.parametrize("isolation", ["inline", "process"])
@pytest.mark.parametrize(("agent", "sends"), [(Stubborn, False), (Stubborn, True), (Deaf, True)])
def test_a_late_reply_is_counted_and_dropped(store_url: str, run: Any, agent: Any, sends: bool, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            for each in (agent, Asker):
                await services.start(each, isolation=isolation)
            for n in range(1, 4):
                slow = {"n": n, "seconds": 30, "sends": sends}
                assert await code_of(services.request("late", slow, timeout=PATIENCE)) == "TIMEOUT"
                await until(lambda n=n: late(runtime) == 2 * n - 1, 10)  # type: ignore[misc]
                assert await services.request("asker", slow) == {"code": "TIMEOUT"}
                await until(lambda n=n: late(runtime) == 2 * n, 10)  # type: ignore[misc]
                quick = {"n": -n, "seconds": 0, "sends": sends}
                assert await services.request("late", quick) == {"n": -n}
                assert await services.request("asker", quick) == {"n": -n}
            assert late(runtime) == 6, "each once"
            assert (await services.control("asker", "status"))["queued"] == 0, "nothing of it waits in its mailbox"
            assert "shoal_late_replies_total 6.0" in runtime.export_prometheus_metrics()

    run(main)


def test_a_late_reply_to_another_node_is_counted_where_it_is_made(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as here, running(store_url, limits=UNLIMITED) as there:
            await here.services.start(Stubborn)
            while not await there.services.discover("late"):
                await asyncio.sleep(0.01)
            slow = {"n": 1, "seconds": 30}
            assert await code_of(there.services.request("late", slow, timeout=PATIENCE)) == "TIMEOUT"
            await until(lambda: late(here) == 1, 10)
            assert late(there) == 0

    run(main)
