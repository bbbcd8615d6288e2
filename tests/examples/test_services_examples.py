"""The examples of services print what they should, at every level, and end by a signal; their agents do their work."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shoal.kernel.trace import DoneSpan, listen_to_spans
from shoal.runtime import AgentRuntime
from shoal.services import RequestError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.examples.programs import HANG_SECONDS, ROOT, play
from tests.examples.services_printed import ENDED_BY_SIGNAL, PRINTED, RUNNING
from tests.support.command import said, shoal
from tests.support.levels import need
from tests.support.runtimes import running, until
from tests.support.upping import up

pytestmark = pytest.mark.usefixtures("backend")

FOLDER = ROOT / "examples/services"
LEVELS = ("inline", "thread", "process", "bubblewrap", "gvisor")
AT_ALL_LEVELS = ("producer_consumer", "load_balancer")
BETWEEN_PROCESSES = ("document_pipeline", "math_pipeline", "workflow")


# -- as programs


def test_no_example_is_left_out() -> None:
    by_name = {program.stem for program in FOLDER.glob("*.py")}
    assert by_name == {*PRINTED, *ENDED_BY_SIGNAL, "shop"}
    page = (ROOT / "docs/how-to/services.md").read_text()
    assert [name for name in by_name if f"`{name}.py`" not in page] == []


@pytest.mark.spec("S50")
@pytest.mark.parametrize("name", PRINTED)
def test_what_they_print(name: str, tmp_path: Path) -> None:
    assert play(FOLDER / f"{name}.py", tmp_path).out == PRINTED[name]


@pytest.mark.spec("S45", "S50")
@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("name", AT_ALL_LEVELS)
def test_they_print_the_same_at_every_level(name: str, level: str, tmp_path: Path) -> None:
    if level in ("bubblewrap", "gvisor"):
        need(level)
    assert play(FOLDER / f"{name}.py", tmp_path, level).out == PRINTED[name]


@pytest.mark.spec("S50")
@pytest.mark.parametrize("name", BETWEEN_PROCESSES)
def test_pipelines_print_the_same_between_processes(name: str, tmp_path: Path) -> None:
    assert play(FOLDER / f"{name}.py", tmp_path, "process").out == PRINTED[name]


@pytest.mark.spec("S45", "S50")
@pytest.mark.parametrize("level", LEVELS)
def test_three_services_started_together_run_until_a_signal(level: str, tmp_path: Path) -> None:
    if level in ("bubblewrap", "gvisor"):
        need(level)
    number = signal.SIGINT if level == "inline" else signal.SIGTERM
    out = play_until(number, "database_cache_logging", tmp_path, level)
    assert out == ENDED_BY_SIGNAL["database_cache_logging"]


@pytest.mark.spec("S50")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_five_processes_start_one_comes_back_and_a_signal_ends_all(number: signal.Signals, tmp_path: Path) -> None:
    assert play_until(number, "process_manager", tmp_path) == ENDED_BY_SIGNAL["process_manager"]
    (entry,) = [json.loads(line) for line in (tmp_path / "agent_audit.log").read_text().splitlines()]
    assert (entry["level"], entry["message"]) == ("warning", "workeragent_1 was killed")


@pytest.mark.spec("S50")
def test_a_file_of_services_is_brought_up_and_asked_from_another_terminal(tmp_path: Path) -> None:
    for file in ("shop.py", "services.toml"):
        shutil.copy(FOLDER / file, tmp_path)
    store = {"SHOAL_STORE": str(tmp_path / "shop.db")}
    with up(tmp_path, "services.toml", "--plain") as crew:
        crew.until("^ready: 4 services")
        assert said(shoal(tmp_path, "call", "orders", '{"item": "pen", "number": 2}', variables=store)) == {
            "item": "pen",
            "number": 2,
            "total": 3.0,
            "left": 8,
        }
        refused = shoal(tmp_path, "call", "orders", '{"item": "fish"}', variables=store)
        assert (refused.returncode, refused.stderr.splitlines()[0]) == (4, "shoal: NOT_FOUND: there is no 'fish'")
        assert shoal(tmp_path, "control", "prices_0", "pause", variables=store).stdout == "Paused\n"
        priced = said(shoal(tmp_path, "call", "prices", '{"item": "book"}', variables=store))
        assert priced == {"price": 12.0, "by": "prices_1"}
        os.kill(crew.pid("stock_0"), signal.SIGKILL)
        crew.until("^stock_0  runs again")
        left = said(shoal(tmp_path, "call", "stock", '{"item": "pen"}', variables=store))
        assert left == {"left": 7}, "what it counted is not lost"
        assert crew.end(signal.SIGTERM) == 0


def test_a_service_over_its_memory_limit_warns(tmp_path: Path) -> None:
    assert play(FOLDER / "memory_aware.py", tmp_path).err.count("High memory usage") == 2


def play_until(number: signal.Signals, name: str, folder: Path, *args: str) -> str:
    """Play an example that runs until it gets a signal, and return what it printed; none of its children may be left."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), *args],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        printed = ""
        while not printed.endswith(RUNNING):
            line = program.stdout.readline()
            assert line, f"it ended after {printed}"
            printed += line
        while not _hears(program.pid, signal.SIGTERM):  # a moment after that line
            time.sleep(0.005)
        children = _children(program.pid)
        program.send_signal(number)
        rest, _ = program.communicate(timeout=HANG_SECONDS)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    return printed + rest


def _hears(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def _children(pid: int) -> list[str]:
    return [child for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()]


# -- their agents


def example(name: str) -> Any:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def code_of(asking: Any) -> str:
    with pytest.raises(RequestError) as error:
        await asking
    return error.value.code


async def counts(runtime: AgentRuntime) -> dict[str, int]:
    """Return how many requests each service has answered."""
    asked: Counter[str] = Counter()
    for record in runtime.services.records():
        asked[record.name] += (await runtime.services.control(record, "status"))["requests"]
    return dict(asked)


@pytest.mark.spec("S11", "S49")
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
            assert await code_of(ask("DatabaseAgent", {"operation": "retrieve", "id": "?"})) == "NOT_FOUND"
            assert await code_of(ask("DatabaseAgent", {"operation": "store"})) == "MISSING_FIELD"
            assert await ask("CacheAgent", {"operation": "set", "key": "k", "value": 5}) == {"status": "stored"}
            assert await ask("CacheAgent", {"operation": "get", "key": "k"}) == {"value": 5}
            assert await ask("CacheAgent", {"operation": "delete", "key": "k"}) == {"status": "deleted"}
            assert await ask("CacheAgent", {"operation": "get", "key": "k"}) == {"value": None}
            for name in ("DatabaseAgent", "CacheAgent"):
                assert await code_of(ask(name, {"operation": "dance"})) == "INVALID_OPERATION"
                assert await code_of(ask(name, {})) == "INVALID_OPERATION"
            logged = await asyncio.gather(*(ask("LoggingAgent", {"message": "x" * n}) for n in range(20)))
            lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
            assert {line["entry_id"] for line in lines} == {answer["entry_id"] for answer in logged}
            assert len(lines) == 20
            assert sorted(len(line["message"]) for line in lines) == list(range(20))

    run(main)


@pytest.mark.sqlite
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
            assert [each["job_id"] for each in results] == [f"job_{n}" for n in range(1, len(results) + 1)]
            assert 8 <= len(results) <= 12
            assert all(0 <= each["processing_time"] <= 3 for each in results)
            job = await services.request("ConsumerAgent", {"id": "own", "data": [1, 2, 3, 6]})
            assert (job["result"], job["total_processed"], job["job_id"]) == (3.0, len(results) + 1, "own")
            assert (await services.request("ConsumerAgent", {}))["result"] == 0
            assert await code_of(services.request("ProducerAgent", {"operation": "?"})) == "INVALID_OPERATION"
            assert len([record for record in caplog.records if "No consumers" in record.getMessage()]) == 3

    run_virtual(main)


STAGES = ("extract", "sentiment", "summary", "report")


async def start_pipeline(runtime: AgentRuntime, module: Any, level: Any) -> None:
    for agent in (module.ExtractAgent, module.SentimentAgent, module.SummaryAgent, module.ReportAgent):
        await runtime.services.start(agent, isolation=level)


@pytest.mark.spec("S35")
@pytest.mark.parametrize("level", ["inline", "thread", "process"])
def test_a_document_goes_through_four_services_in_one_trace(store_url: str, level: str, run: Any) -> None:
    module = example("document_pipeline")

    async def main() -> None:
        async with running(store_url) as runtime:
            await start_pipeline(runtime, module, level)
            document = {"workflow_id": "w1", "document_id": "d1", "text": module.DOCUMENTS["complaint"]}
            answer = await runtime.services.request("report", document)
            stages = [*answer["stages"], answer]
            assert tuple(stage["stage"] for stage in stages) == STAGES
            assert {(stage["workflow_id"], stage["document_id"]) for stage in stages} == {("w1", "d1")}
            assert len({stage["trace_id"] for stage in stages}) == 1
            assert len({stage["span_id"] for stage in stages}) == 4
            assert answer["parent_span_id"] is None
            assert {stage["parent_span_id"] for stage in answer["stages"]} == {answer["span_id"]}
            assert await counts(runtime) == dict.fromkeys(STAGES, 1)
            other = await runtime.services.request("report", document)
            assert other["trace_id"] != answer["trace_id"]

    run(main)


@pytest.mark.spec("S35")
@pytest.mark.parametrize("level", ["inline", "thread", "process"])
def test_listeners_are_told_of_four_spans_in_one_tree(store_url: str, level: str, run: Any) -> None:
    module = example("document_pipeline")
    spans: list[DoneSpan] = []

    async def main() -> None:
        async with running(store_url) as runtime:
            await start_pipeline(runtime, module, level)
            document = {"workflow_id": "w1", "document_id": "d1", "text": "Great."}
            answer = await runtime.services.request("report", document)
            await until(lambda: len(spans) >= 4)  # those of child processes come a moment later
        by_name = {done.name.removeprefix("request "): done.span for done in spans}
        assert len(spans) == 4
        assert sorted(by_name) == sorted(STAGES)
        for stage in [*answer["stages"], answer]:
            span = by_name[stage["stage"]]
            assert (span.trace_id, span.span_id) == (stage["trace_id"], stage["span_id"])
            assert span.parent_span_id == (None if stage is answer else by_name["report"].span_id)

    stop = listen_to_spans(spans.append)
    try:
        run(main)
    finally:
        stop()


@pytest.mark.spec("S35")
@pytest.mark.parametrize("level", ["inline", "process"])
def test_one_service_leaves_in_the_middle_and_the_work_goes_on(store_url: str, level: Any, run: Any) -> None:
    module = example("document_pipeline")

    class Busy(module.SentimentAgent):  # type: ignore[misc, name-defined]
        def process_request(self, payload: dict[str, Any]) -> Any:
            time.sleep(0.02)
            return super().process_request(payload)

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            await start_pipeline(runtime, module, level)
            leaving = await services.start(Busy, isolation=level)
            assert len(services.records()) == 5

            async def report_on(number: int) -> dict[str, Any]:
                document = {"workflow_id": "w", "document_id": str(number), "text": "Great. " * (number + 1)}
                return await services.request("report", document)

            asked = [asyncio.create_task(report_on(n)) for n in range(60)]
            while (status := await services.control(leaving, "status"))["requests"] < 3 or not status["in_flight"]:
                await asyncio.sleep(0.001)
            assert not all(each.done() for each in asked), "it leaves in the middle"
            await services.stop(leaving.instance)
            assert len(services.records()) == 4
            assert leaving.uuid not in {record.uuid for record in services.records()}
            answers = await asyncio.gather(*asked)
            assert [answer["document_id"] for answer in answers] == [str(n) for n in range(60)]
            assert all(answer["report"].startswith("positive") for answer in answers)
            assert (await report_on(60))["document_id"] == "60"

    run(main)


@pytest.mark.spec("S36")
@pytest.mark.parametrize("level", ["inline", "process"])
def test_three_results_and_one_aggregate_of_one_calculation(store_url: str, level: Any, run: Any) -> None:
    module = example("math_pipeline")

    async def main() -> None:
        async with running(store_url) as runtime:
            for agent in (module.SquareAgent, module.DoubleAgent, module.IncrementAgent, module.AggregatorAgent):
                await runtime.services.start(agent, isolation=level)
            aggregate = await runtime.services.request("aggregator", {"calculation_id": "c1", "number": -3})
            assert await counts(runtime) == {"square": 1, "double": 1, "increment": 1, "aggregator": 1}
            results = {answer["operation"]: answer["result"] for answer in aggregate["answers"]}
            assert results == {"square": 9, "double": -6, "increment": -2}
            assert aggregate["total"] == 1
            assert {answer["calculation_id"] for answer in (aggregate, *aggregate["answers"])} == {"c1"}

            asked = [{"calculation_id": f"c{n}", "number": n} for n in range(20)]
            for each in await asyncio.gather(*(runtime.services.request("aggregator", one) for one in asked)):
                n = int(each["calculation_id"][1:])
                assert each["total"] == n * n + 2 * n + n + 1
                assert {answer["calculation_id"] for answer in each["answers"]} == {f"c{n}"}
            assert await counts(runtime) == {"square": 21, "double": 21, "increment": 21, "aggregator": 21}

    run(main)


@pytest.mark.spec("S37")
@pytest.mark.parametrize("level", ["inline", "process"])
def test_each_step_of_a_workflow_is_asked_once(store_url: str, level: Any, run: Any) -> None:
    module = example("workflow")

    async def main() -> None:
        async with running(store_url) as runtime:
            steps = (module.CoordinatorAgent, module.ProcessorAgent, module.ValidatorAgent, module.ReporterAgent)
            for agent in steps:
                await runtime.services.start(agent, isolation=level)
            done = await runtime.services.request("coordinator", {"order": "o1", "items": {"apple": 2}})
            assert done == {"workflow_id": "o1", "report": "2 pieces for 1.00"}
            names = ("coordinator", "processor", "validator", "reporter")
            assert await counts(runtime) == dict.fromkeys(names, 1)
            with pytest.raises(RequestError, match="processor: no price for plum") as error:
                await runtime.services.request("coordinator", {"order": "o2", "items": {"plum": 2}})
            assert (error.value.code, error.value.details) == ("NOT_FOUND", {"unknown": ["plum"]})
            assert await counts(runtime) == {"coordinator": 2, "processor": 2, "validator": 1, "reporter": 1}

    run(main)


@pytest.mark.spec("S38")
def test_a_monitor_warns_of_the_one_that_failed(store_url: str, capsys: pytest.CaptureFixture[str], run: Any) -> None:
    module = example("health_checks")

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            for name in ("users", "orders", "payments"):
                await services.start(module.StoreAgent, {"name": name})
            await services.start(module.AlertAgent)
            await services.start(module.MonitorAgent)
            check = {"capability": "store"}
            assert await services.request("MonitorAgent", check) == {"checked": 3, "failed": []}
            await services.control("payments", "disconnect")
            assert await services.request("MonitorAgent", check) == {"checked": 3, "failed": ["payments"]}
            asked = {"users": 0, "orders": 0, "payments": 0, "AlertAgent": 1, "MonitorAgent": 2}
            assert await counts(runtime) == asked

    run(main)
    assert capsys.readouterr().out == "WARNING: payments: no connection\n"
