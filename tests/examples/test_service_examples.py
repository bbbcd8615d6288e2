"""The examples of services print what they say, at every level; and their agents do what they are for."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from shoal.runtime import AgentRuntime
from shoal.services import RequestError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.examples.programs import ROOT, play
from tests.support.levels import need
from tests.support.runtimes import running

FOLDER = ROOT / "examples/services"
LEVELS = ("inline", "thread", "process", "bubblewrap", "gvisor")
PRINTED = {
    "database_cache_logging": [
        "database: stored {'name': 'Ada'}",
        "cache: Ada None",
        "logged: 20",
        "refused: INVALID_OPERATION Unknown operation: shuffle",
    ],
    "producer_consumer": ["jobs done: at least 5", "mean: 3.0 of nothing: 0"],
    "load_balancer": [
        "before: NO_WORKERS",
        "three workers: [10, 10, 10]",
        "one joined: [10, 10, 10, 10]",
        "two drained: [20, 20]",
        "cpu: 500500 by way of LoadBalancerAgent",
        "refused: WORKER_ERROR INVALID_OPERATION",
    ],
}


def example(name: str) -> Any:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.spec("S45")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PRINTED)
def test_what_they_print(name: str, level: str, tmp_path: Path) -> None:
    if level in ("bubblewrap", "gvisor"):
        need(level)
    assert play(FOLDER / f"{name}.py", tmp_path, "--isolation", level).out.splitlines() == PRINTED[name]


async def refused(asking: Any) -> str:
    with pytest.raises(RequestError) as error:
        await asking
    return error.value.code


@pytest.mark.spec("S11")
def test_database_cache_and_log(store_url: str, tmp_path: Path, run: Any) -> None:
    three = example("database_cache_logging")

    async def main() -> None:
        async with running(store_url) as runtime:
            ask = runtime.services.request
            await runtime.services.start(three.DatabaseAgent)
            await runtime.services.start(three.CacheAgent)
            await runtime.services.start(three.LoggingAgent, {"path": str(tmp_path / "log")})
            key = (await ask("DatabaseAgent", {"operation": "store", "data": [1]}))["id"]
            assert await ask("DatabaseAgent", {"operation": "retrieve", "id": key}) == {"data": [1]}
            assert await refused(ask("DatabaseAgent", {"operation": "retrieve", "id": "?"})) == "NOT_FOUND"
            assert await refused(ask("DatabaseAgent", {"operation": "store"})) == "MISSING_FIELD"
            assert await ask("CacheAgent", {"operation": "set", "key": "k", "value": 5}) == {"status": "stored"}
            assert await ask("CacheAgent", {"operation": "get", "key": "k"}) == {"value": 5}
            assert await ask("CacheAgent", {"operation": "delete", "key": "k"}) == {"status": "deleted"}
            assert await ask("CacheAgent", {"operation": "get", "key": "k"}) == {"value": None}
            for name in ("DatabaseAgent", "CacheAgent"):
                assert await refused(ask(name, {"operation": "dance"})) == "INVALID_OPERATION"
                assert await refused(ask(name, {})) == "INVALID_OPERATION"
            logged = await asyncio.gather(*(ask("LoggingAgent", {"message": "x" * n}) for n in range(20)))
            lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
            assert {line["entry_id"] for line in lines} == {answer["entry_id"] for answer in logged}
            assert len(lines) == 20
            assert sorted(len(line["message"]) for line in lines) == list(range(20))

    run(main)


@pytest.mark.spec("S12")
def test_producer_and_consumer_in_virtual_time(caplog: pytest.LogCaptureFixture) -> None:
    module = example("producer_consumer")

    async def main(clock: VirtualClock) -> None:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            services = runtime.services
            producer = module.ProducerAgent()
            with caplog.at_level(logging.WARNING):
                await services.start(producer)
                await clock.sleep(12)
            warnings = [record for record in caplog.records if "No consumers available" in record.getMessage()]
            assert len(warnings) == 3
            await services.start(module.ConsumerAgent)
            await clock.sleep(60)
            results = producer.results
            assert [each["total_processed"] for each in results] == list(range(1, len(results) + 1))
            assert 8 <= len(results) <= 12
            assert all(0 <= each["processing_time"] <= 3 for each in results)
            job = await services.request("ConsumerAgent", {"id": "own", "data": [1, 2, 3, 6]})
            assert (job["result"], job["total_processed"], job["job_id"]) == (3.0, len(results) + 1, "own")
            assert (await services.request("ConsumerAgent", {}))["result"] == 0
            assert await refused(services.request("ProducerAgent", {"operation": "?"})) == "INVALID_OPERATION"

    run_virtual(main)
