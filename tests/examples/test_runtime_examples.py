"""Every example of the runtime, as a real process, twice in one folder; and the facts behind what it prints."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal import AgentRuntime, DeadLetter, Event, EventFilter, Task
from tests.examples.programs import ROOT, SECOND, look, play

pytestmark = pytest.mark.usefixtures("backend")

EXAMPLES = ROOT / "examples" / "runtime"
TEN_METRICS = {
    "uptime_seconds",
    "total_agents",
    "running_agents",
    "total_tasks",
    "completed_tasks",
    "failed_tasks",
    "avg_task_duration_seconds",
    "p95_task_duration_seconds",
    "messages_sent",
    "avg_message_latency_ms",
}
METRIC_LINES = """\
Uptime: #s
Running agents: 5
Completed tasks: 20
Avg task duration: #s
P95 task duration: #s
"""
PRINTED = {
    "01_basic": "{'greeting': 'Hello, Alice!'}\n",
    "02_concurrent": "Submitted 20 tasks to 5 agents\nProcessed 20 tasks successfully\n",
    "03_dependencies": "download-data\nprocess-data\nupload-results\ncleanup\n",
    "04_lifecycle": "Agent status: running\nAgent paused\nAgent resumed\nAgent stopped\n",
    "05_request_response": "Query result: {'answer': 4}\n",
    "05_request_with_handler": "Query result: {'answer': 4}\n",
    "06_broadcast": "Listener received: 1 alerts\n" * 3,
    "07_external_api": "API returned: {'value': 42}\nAPI error: 500 Internal Server Error for /broken\n",
    "08_stateful": "Agent paused with state saved\nAgent resumed with state restored\nTotal processed: 35\n",
    "09_limits": "".join(f"Started agent {i}\n" for i in range(5))
    + "".join(f"Agent {i} queued: Max concurrent agents reached\n" for i in range(5, 10))
    + "Stopped agent 0\nStopped agent 1\nAgent 5 runs now\nAgent 6 runs now\n",
    "10_events": "Total events: 90\nAgent start events: 5\nError events: 0\nEvents in last hour: 90\n"
    "Events exported to events.jsonl\n",
    "11_metrics": METRIC_LINES + "Prometheus metrics available\n",
    "best_practices": "Database open\ndivide: {'error': 'division by zero', 'success': False}\nselect: {'one': 1}\n"
    "ask: {'answer': None, 'asked': True}\nlog: {'logger': 'shoal.agent.logging-agent'}\nbatch: interrupted\n"
    "Database closed\n",
}
HIDE_PROMETHEUS = """\
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hidden())
"""


def shape(text: str) -> str:
    """Return *text* with every duration as ``#s``."""
    return re.sub(r"\d+\.\d\ds", "#s", text)


def test_every_example_is_expected() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(PRINTED)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("01_basic", marks=pytest.mark.spec("R1")),
        pytest.param("02_concurrent", marks=pytest.mark.spec("R2")),
        pytest.param("03_dependencies", marks=pytest.mark.spec("R3")),
        pytest.param("04_lifecycle", marks=pytest.mark.spec("R3")),
        pytest.param("05_request_response", marks=pytest.mark.spec("R4")),
        pytest.param("05_request_with_handler", marks=pytest.mark.spec("R4")),
        pytest.param("06_broadcast", marks=pytest.mark.spec("R4")),
        pytest.param("07_external_api", marks=pytest.mark.spec("R5")),
        pytest.param("best_practices", marks=pytest.mark.spec("R5")),
        pytest.param("08_stateful", marks=pytest.mark.spec("R6")),
        pytest.param("09_limits", marks=pytest.mark.spec("R7")),
        pytest.param("10_events", marks=pytest.mark.spec("R8")),
        pytest.param("11_metrics", marks=pytest.mark.spec("R8")),
    ],
)
def test_prints_the_same_twice_in_one_folder(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert shape(play(EXAMPLES / f"{name}.py", tmp_path).out) == PRINTED[name]


@pytest.mark.spec("R2")
def test_work_is_spread_evenly(tmp_path: Path) -> None:
    play(EXAMPLES / "02_concurrent.py", tmp_path)
    tasks = look(tmp_path / "shoal.db", lambda runtime: runtime.list_tasks())
    done_by = Counter(task.assigned_agent_id for task in tasks)
    assert len(tasks) == 20 and all(task.status == "completed" and task.attempt == 1 for task in tasks)
    assert len(done_by) == 5 and all(3 <= count <= 5 for count in done_by.values())
    took = max(_ended(task) for task in tasks) - min(task.created_at.timestamp() for task in tasks)
    assert 8 * SECOND <= took <= 10 * 8.4 * SECOND


@pytest.mark.spec("R3")
def test_a_paused_count_stands_still_and_then_completes(tmp_path: Path) -> None:
    play(EXAMPLES / "04_lifecycle.py", tmp_path)

    def ask(runtime: AgentRuntime) -> tuple[list[Task], list[Event], list[Event]]:
        kinds = ("agent_paused", "agent_resumed")
        paused, resumed = (runtime.query_events(kind) for kind in kinds)
        return runtime.list_tasks(), paused, resumed

    (task,), (paused,), (resumed,) = look(tmp_path / "shoal.db", ask)
    held = (resumed.timestamp - paused.timestamp).total_seconds()
    assert task.status == "completed" and isinstance(task.output_data, dict)
    assert task.output_data["count"] == 120 and task.attempt == 1
    assert held >= 10 * SECOND * 0.9 and task.output_data["longest_gap"] >= held * 0.9
    assert task.started_at is not None and task.started_at < paused.timestamp < resumed.timestamp
    assert _ended(task) > resumed.timestamp.timestamp()


@pytest.mark.spec("R4")
def test_the_broadcaster_gets_nothing_of_its_own(tmp_path: Path) -> None:
    play(EXAMPLES / "06_broadcast.py", tmp_path)

    def ask(runtime: AgentRuntime) -> tuple[list[Task], list[DeadLetter]]:
        return runtime.list_tasks(name="broadcast"), runtime.dead_letters()

    (task,), letters = look(tmp_path / "shoal.db", ask)
    assert task.output_data == {"reached": 3}
    assert letters == []  # mail left in a mailbox when its agent stops would be here


@pytest.mark.spec("R4")
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: str(path.stem))
def test_no_example_evaluates_text(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not names & {"eval", "exec", "compile", "__import__"}


@pytest.mark.spec("R5")
def test_hooks_run_once(tmp_path: Path) -> None:
    said = play(EXAMPLES / "07_external_api.py", tmp_path).err
    assert said.count("HTTP client initialized") == 1
    assert said.count("HTTP client closed") == 1
    assert said.index("initialized") < said.index("API error") < said.index("closed")


@pytest.mark.spec("R7")
def test_a_free_place_is_taken_within_a_second(tmp_path: Path) -> None:
    play(EXAMPLES / "09_limits.py", tmp_path)

    def ask(runtime: AgentRuntime) -> dict[tuple[str, str], float]:
        names = {agent.agent_id: agent.name for agent in runtime.list_agents()}
        events = runtime.query_events(filters=EventFilter(oldest_first=True), limit=1000)
        return {(names[e.agent_id], e.event_type): e.timestamp.timestamp() for e in events if e.agent_id in names}

    at = look(tmp_path / "runtime.db", ask)
    assert sum(kind == "agent_queued" for _, kind in at) == 5
    for stopped, started in ((0, 5), (1, 6)):
        waited = at[f"worker-{started}", "agent_started"] - at[f"worker-{stopped}", "agent_stopped"]
        assert 0 <= waited < 1
    assert not any((f"worker-{i}", "agent_started") in at for i in (7, 8, 9))


@pytest.mark.spec("R8")
def test_exported_events_are_valid_line_by_line(tmp_path: Path) -> None:
    play(EXAMPLES / "10_events.py", tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(lines) == 90
    ids = [line["event_id"] for line in lines]
    assert sorted(set(ids)) == sorted(ids)
    count = Counter(line["event_type"] for line in lines)
    assert count["agent_started"] == 5
    assert count["task_enqueued"] == count["task_started"] == count["task_completed"] == 20


@pytest.mark.spec("R8")
def test_prometheus_text_parses(tmp_path: Path) -> None:
    file = tmp_path / "shoal.prom"
    play(EXAMPLES / "11_metrics.py", tmp_path, env={"PROMETHEUS_FILE": str(file)})
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    missing = {f"shoal_{key}" for key in TEN_METRICS} - {name.removesuffix("_total") for name in samples} - set(samples)
    assert not missing
    completed = samples.get("shoal_completed_tasks", samples.get("shoal_completed_tasks_total"))
    assert completed == 20


@pytest.mark.spec("R8")
def test_without_the_extra_all_numbers_but_no_text(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE_PROMETHEUS)
    printed = play(EXAMPLES / "11_metrics.py", tmp_path, env={"PYTHONPATH": str(hidden)})
    assert shape(printed.out) == METRIC_LINES + "Monitoring extra not installed\n"


@pytest.mark.spec("R8")
def test_ten_metrics_are_always_there(tmp_path: Path) -> None:
    play(EXAMPLES / "01_basic.py", tmp_path)
    metrics = look(tmp_path / "runtime.db", lambda runtime: runtime.get_metrics())
    assert metrics.keys() >= TEN_METRICS
    counts = {key for key in TEN_METRICS if key.endswith(("_tasks", "_agents", "_sent"))}
    assert all(type(metrics[key]) is int for key in counts)


def _ended(task: Task) -> float:
    assert task.completed_at is not None
    return task.completed_at.timestamp()
