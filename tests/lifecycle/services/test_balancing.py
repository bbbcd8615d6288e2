"""Many workers: shared out, joined, drained, killed, refused."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.runtime import AgentRuntime
from shoal.services import AgentDied, Capability, LoadBalancerAgent, RequestError
from tests.lifecycle.services.test_control import code_of
from tests.support.runtimes import UNLIMITED, running
from tests.support.servers import Worker

FAST = RestartPolicy(initial_seconds=0.02, max_restarts=1000, max_seconds=0.1)


@pytest.mark.spec("S13")
def test_three_workers_share_alike(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            await services.start(LoadBalancerAgent)
            assert await code_of(services.request("LoadBalancerAgent", {"n": 0})) == "NO_WORKERS"
            workers = [await services.start(Worker) for _ in range(3)]
            answers = await asyncio.gather(*(services.request("LoadBalancerAgent", {"n": n}) for n in range(300)))
            assert [answer["n"] for answer in answers] == list(range(300))
            assert {answer["routed_by"] for answer in answers} == {"LoadBalancerAgent"}
            assert all(answer["worker"] == answer["by"] for answer in answers)
            assert Counter(answer["worker"] for answer in answers) == {w.instance: 100 for w in workers}
            stats = await services.control("LoadBalancerAgent", "stats")
            assert sum(each["successes"] for each in stats.values()) == 300

    run(main)


@pytest.mark.spec("S13")
def test_one_that_never_accepts_is_gone_round(store_url: str, run: Any) -> None:
    class Full(Worker):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            raise RequestError("MAILBOX_FULL", "no room", retryable=True)

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            workers = [await services.start(each) for each in (Worker, Full, Worker)]
            await services.start(LoadBalancerAgent)
            answers = [await services.request("LoadBalancerAgent", {"n": n}) for n in range(300)]
            told = Counter(answer["worker"] for answer in answers)
            assert told.keys() == {workers[0].instance, workers[2].instance}
            assert sum(told.values()) == 300

    run(main)


def test_what_a_worker_raises_is_told_with_its_code(store_url: str, run: Any) -> None:
    class Wrong(Worker):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            raise RequestError("CLOSED", "come back tomorrow")

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Wrong)
            await runtime.services.start(LoadBalancerAgent)
            with pytest.raises(RequestError, match="Worker failed: CLOSED: come back tomorrow") as error:
                await runtime.services.request("LoadBalancerAgent", {"n": 1})
            assert (error.value.code, error.value.details["code"]) == ("WORKER_ERROR", "CLOSED")

    run(main)


async def load(runtime: AgentRuntime, total: int, answers: list[Any], *, idempotent: bool = False) -> None:
    """Send *total* requests from 20 callers; what each got stands in *answers*."""
    numbers = iter(range(total))

    async def caller() -> None:
        for number in numbers:
            began = time.monotonic()
            try:
                found: Any = await runtime.services.request(Capability("worker"), {"n": number}, idempotent=idempotent)
                assert found["n"] == number
            except RequestError as error:
                found = error
            answers.append((found, time.monotonic() - began, time.monotonic()))

    await asyncio.gather(*(caller() for _ in range(20)))


@pytest.mark.spec("S14")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_worker_joins_and_one_drains_under_load(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            config = {"slow": 0.001}
            leaving, _ = [await services.start(Worker, config, isolation) for _ in range(2)]
            answers: list[Any] = []
            working = asyncio.ensure_future(load(runtime, 5000, answers))
            while len(answers) < 1000:
                await asyncio.sleep(0.01)
            joined = await services.start(Worker, config, isolation)
            since = time.monotonic()
            while len(answers) < 2500:
                await asyncio.sleep(0.01)
            await services.stop(leaving.instance)
            await working
            assert [found for found, _, _ in answers if isinstance(found, RequestError)] == []
            assert sorted(found["n"] for found, _, _ in answers) == list(range(5000))
            first = min(at for found, _, at in answers if found["by"] == joined.instance)
            assert first - since < 1.0

    run(main)


@pytest.mark.spec("S15")
@pytest.mark.parametrize("idempotent", [False, True])
def test_a_worker_is_killed_under_load(store_url: str, run: Any, idempotent: bool) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            workers = [await services.start(Worker, {"slow": 0.001}, "process", restart=FAST) for _ in range(3)]
            answers: list[Any] = []
            working = asyncio.ensure_future(load(runtime, 3000, answers, idempotent=idempotent))
            while len(answers) < 500:
                await asyncio.sleep(0.005)
            assert workers[1].pid is not None
            os.kill(workers[1].pid, signal.SIGKILL)
            await working
            errors = [found for found, _, _ in answers if isinstance(found, RequestError)]
            assert len(answers) == 3000
            assert {type(error) for error in errors} <= ({AgentDied} if not idempotent else set())
            assert len(errors) <= 1  # with one at a time, only what it was handling
            assert max(seconds for _, seconds, _ in answers) < 1.0

    run(main)
