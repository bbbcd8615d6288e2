"""The service with pools: what is taken, refused, late and wrong."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import InfoError, RequestError
from shoal.services.poolagents import ThreadPoolAgent
from tests.support.backend import store_at
from tests.support.processes import gone
from tests.support.runtimes import running, until

pytestmark = pytest.mark.usefixtures("backend")

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


@pytest.mark.spec("S24", "S49")
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


@pytest.mark.spec("S24", "S49")
def test_late_and_wrong_and_refused(run: Run) -> None:
    async def main() -> None:
        agent = Worker()
        agent.task_timeout = 0.05
        with pytest.raises(RequestError, match="TIMEOUT: Task timed out"):
            await agent.process_request({"do": "wait"})
        assert agent.cpu_pool.stats().stuck == 1
        agent.task_timeout = 60
        with pytest.raises(RequestError, match="EXECUTION_ERROR: Task failed: 'no such thing'"):
            await agent.process_request({"do": "fail"})
        with pytest.raises(RequestError, match=r"^INSUFFICIENT_FUNDS: no money"):
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
    with pytest.raises(InfoError, match=r"config '(cpu|io)'"):
        Worker(config)


def test_no_thread_is_made_before_the_first_request() -> None:
    before = threading.active_count()
    Worker()
    assert threading.active_count() == before


class Square(ThreadPoolAgent):
    """Works with the processor, and says where."""

    def info(self) -> dict[str, Any]:
        return {"name": "square", "capabilities": ["math"], "type": "server"}

    def perform_task(self, payload: dict[str, Any]) -> Any:
        if payload["value"] < 0:
            raise RequestError("NEGATIVE", "no such square")
        return {"square": payload["value"] ** 2 + self.config.get("offset", 0), "pid": os.getpid()}


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_on_a_runtime_with_threads_and_with_processes(run: Run, tmp_path: Path, kind: str, isolation: Any) -> None:
    async def main() -> set[int]:
        config = {"cpu": {"kind": kind, "min_size": 0, "max_size": 2}, "offset": 1}
        async with running(store_at(tmp_path / "shoal.db")) as runtime:
            services = runtime.services
            record = await services.start(Square, config, isolation=isolation)
            answers = await asyncio.gather(*(services.request("square", {"value": n}) for n in range(20)))
            assert [answer["square"] for answer in answers] == [n**2 + 1 for n in range(20)]
            with pytest.raises(RequestError, match=r"^NEGATIVE: no such square"):
                await services.request("square", {"value": -1})
            with pytest.raises(RequestError, match="EXECUTION_ERROR: Task failed"):
                await services.request("square", {"value": "x"})
            await services.stop(record.instance)
            return {answer["pid"] for answer in answers}

    pids = run(main)
    assert (os.getpid() in pids) is (kind == "thread" and isolation != "process")
    assert len(pids) == (2 if kind == "process" else 1)
    assert all(gone(pid) for pid in pids - {os.getpid()})


@pytest.mark.spec("S24", "S49")
def test_all_of_them_through_the_runtime(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        agent = Worker()
        async with running(store_at(tmp_path / "shoal.db")) as runtime:
            services = runtime.services
            await services.start(agent)

            async def end(task_type: str) -> str:
                try:
                    await services.request("worker", {"do": "wait", "task_type": task_type}, timeout=90)
                except RequestError as error:
                    return error.code
                return "answered"

            cpu = [asyncio.ensure_future(end("cpu_intensive")) for _ in range(200)]
            io = [asyncio.ensure_future(end("io_intensive")) for _ in range(1500)]
            await until(lambda: sum(each.done() for each in cpu) == 96 and sum(each.done() for each in io) == 480, 60)
            agent.go_on.set()
            assert Counter(await asyncio.gather(*cpu)) == {"answered": 104, "POOL_FULL": 96}
            assert Counter(await asyncio.gather(*io)) == {"answered": 1020, "POOL_FULL": 480}

    run(main)
