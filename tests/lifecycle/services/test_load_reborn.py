"""An instance that was started again is asked again at once: the failures of its last life are not its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.services import Capability, RequestError
from tests.support.runtimes import UNLIMITED, running
from tests.support.servers import Asker, Echo

FAST = RestartPolicy(initial_seconds=0.05)


async def answered(once: Any, wanted: Any, seconds: float) -> float:
    """Ask until an answer is *wanted*, and return how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            try:
                if wanted(await once()):
                    return time.monotonic() - began
            except RequestError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("caller", ["runtime", "inline", "process"])
def test_a_killed_worker_has_requests_again_within_a_second(store_url: str, run: Any, caller: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            worker = await services.start(Echo, isolation="process", restart=FAST)
            if caller != "runtime":
                await services.start(_Crowd, isolation=caller)

            async def ask(payload: dict[str, Any]) -> dict[str, Any]:
                if caller == "runtime":
                    return await services.request(Capability("echo"), payload)
                asked: dict[str, Any] = await services.request("asker", {"target": "echo", "payload": payload})
                return dict(asked["asked"])

            assert (await ask({}))["pid"] == worker.pid
            waiting = [asyncio.ensure_future(ask({"pause": 30})) for _ in range(8)]
            await asyncio.sleep(0.1)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            failed = await asyncio.gather(*waiting, return_exceptions=True)
            assert {getattr(error, "code", None) for error in failed} <= {"AGENT_DIED", "EXECUTION_ERROR"}
            seconds = await answered(lambda: ask({}), lambda answer: answer["pid"] != worker.pid, 5.0)
            assert seconds < 1.0

    run(main)


class _Crowd(Asker):
    concurrency = 20


def test_an_agent_built_anew_has_requests_again(store_url: str, run: Any) -> None:
    class Deaf(Echo):
        concurrency = 8

        async def process_request(self, payload: dict[str, Any]) -> Any:
            while payload.get("deaf"):
                try:
                    await asyncio.sleep(payload["deaf"])
                    return {}
                except asyncio.CancelledError:
                    continue
            return {"built": id(self)}

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED, cancel_grace_seconds=0.1) as runtime:
            services = runtime.services
            await services.start(Deaf, isolation="inline")
            first = (await services.request("echo", {}))["built"]
            late = [services.request("echo", {"deaf": 3.0}, timeout=0.3) for _ in range(6)]
            failed = await asyncio.gather(*late, return_exceptions=True)
            assert {getattr(error, "code", None) for error in failed} <= {"TIMEOUT", "AGENT_DIED"}
            seconds = await answered(lambda: services.request("echo", {}), lambda answer: answer["built"] != first, 5.0)
            assert seconds < 1.5

    run(main)
