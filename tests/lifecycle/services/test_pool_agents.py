"""The service with pools: what is taken, refused, late and wrong."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shoal.errors import InfoError, RequestError
from shoal.services.poolagents import ThreadPoolAgent
from tests.support.runtimes import until

Run = Callable[..., Any]


class Worker(ThreadPoolAgent):
    """Does what the request says."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.go_on = threading.Event()

    def info(self) -> dict[str, Any]:
        return {"name": "worker", "capabilities": ["work"]}

    def perform_task(self, payload: dict[str, Any]) -> Any:
        match payload.get("do"):
            case "wait":
                return {"waited": self.go_on.wait()}
            case "fail":
                raise KeyError("no such thing")
            case "refuse":
                raise RequestError("INSUFFICIENT_FUNDS", "no money")
        return payload.get("value")


async def end_of(agent: Worker, **payload: Any) -> str:
    try:
        await agent.process_request(payload)
    except RequestError as error:
        return f"{error.code} {'again' if error.retryable else 'final'}"
    return "answered"


@pytest.mark.spec("S24")
def test_two_hundred_and_fifteen_hundred_requests_that_block(run: Run) -> None:
    async def main() -> None:
        agent = Worker()
        assert agent.concurrency > 104 + 1020, "a request too many is refused at once"
        both = [("cpu_intensive", 200), ("io_intensive", 1000), ("network", 500)]
        ends = {
            kind: [asyncio.ensure_future(end_of(agent, do="wait", task_type=kind)) for _ in range(count)]
            for kind, count in both
        }
        io = ends["io_intensive"] + ends["network"]
        await until(lambda: agent.io_pool.stats().refused == 480)
        assert Counter(end.done() for end in ends["cpu_intensive"]) == {False: 104, True: 96}
        assert Counter(end.done() for end in io) == {False: 1020, True: 480}
        assert (agent.cpu_pool.stats().size, agent.io_pool.stats().size) == (4, 20)
        agent.go_on.set()
        assert Counter(await asyncio.gather(*ends["cpu_intensive"])) == {"answered": 104, "POOL_FULL again": 96}
        assert Counter(await asyncio.gather(*io)) == {"answered": 1020, "POOL_FULL again": 480}
        await agent.on_stop()

    run(main)


@pytest.mark.spec("S24")
def test_late_and_wrong_and_refused(run: Run) -> None:
    async def main() -> None:
        agent = Worker()
        agent.task_timeout = 0.05
        with pytest.raises(RequestError, match="TIMEOUT: Task timed out"):
            await agent.process_request({"do": "wait"})
        assert agent.cpu_pool.stats().stuck == 1
        with pytest.raises(RequestError, match="EXECUTION_ERROR: Task failed: 'no such thing'"):
            await agent.process_request({"do": "fail"})
        with pytest.raises(RequestError, match="INSUFFICIENT_FUNDS: no money"):
            await agent.process_request({"do": "refuse"})
        assert await agent.process_request({"value": 7}) == {"result": 7}
        assert await agent.process_request({"value": {"a": 1}}) == {"a": 1}
        agent.go_on.set()
        await agent.on_stop()
        assert ThreadPoolAgent.task_timeout == 30

    run(main)


def test_which_pool_a_request_goes_to() -> None:
    agent = Worker()
    chosen = {
        kind: agent.pool_for({"task_type": kind}) for kind in ("io_intensive", "network", "cpu_intensive", "x", None)
    }
    assert chosen == {
        "io_intensive": agent.io_pool,
        "network": agent.io_pool,
        "cpu_intensive": agent.cpu_pool,
        "x": agent.cpu_pool,
        None: agent.cpu_pool,
    }
    assert agent.pool_for({}) is agent.cpu_pool


def test_config_changes_sizes_and_kind() -> None:
    agent = Worker({"cpu": {"max_size": 8, "kind": "process", "idle": 5}, "io": {"max_queue": 0}})
    assert (agent.cpu_pool.capacity, agent.cpu_pool.kind) == (108, "process")
    assert (agent.io_pool.capacity, agent.io_pool.kind) == (20, "thread")
    assert agent.concurrency > 128


@pytest.mark.parametrize(
    "config", [{"cpu": {"max_size": 0}}, {"io": {"kind": "fibre"}}, {"cpu": {"size": 3}}, {"io": 7}]
)
def test_bad_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InfoError, match="config '(cpu|io)'"):
        Worker(config)


def test_no_thread_is_made_before_the_first_request() -> None:
    before = threading.active_count()
    Worker()
    assert threading.active_count() == before
