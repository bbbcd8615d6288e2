"""What people see: tables, one task with its steps, events as they come, and what the doctor says."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import begin, environment, refused, said, shoal

AGENTS = """
import asyncio

async def stepper(task, context):
    await context.step("floor", lambda: {"built": True})
    await context.step("walls", lambda: None)
    print("begun", flush=True)
    if task.input_data["message"] != "short":
        await asyncio.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A store in which a node was killed while it executed one of two tasks."""
    (tmp_path / "a.py").write_text(AGENTS)
    with begin(tmp_path, "run", "a.py:stepper", "x", "y") as running:
        assert running.stdout is not None and running.stdout.readline() == "begun\n"
        running.kill()
    yield tmp_path


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return names and values as they were printed, by name."""
    assert done.returncode == 0, done.stderr
    pairs = (line.split("  ", 1) for line in done.stdout.splitlines())
    return {name: value.strip() for name, value in pairs}


def test_one_task_is_shown_with_agent_node_and_steps(folder: Path) -> None:
    waiting, running = said(shoal(folder, "tasks", "list", "--json"))
    shown = lines(shoal(folder, "tasks", "show", running["task_id"]))
    assert (shown["agent_name"], shown["node"]) == ("stepper", "gone: it runs no more")
    assert (shown["step floor"], shown["step walls"]) == ('{"built":true}', "null")
    assert "output_data" not in shown
    told = said(shoal(folder, "tasks", "show", running["task_id"], "--json"))
    assert (told["agent_name"], told["node_gone"]) == ("stepper", True)
    assert [(step["key"], step["value"]) for step in told["steps"]] == [("floor", {"built": True}), ("walls", None)]
    assert said(shoal(folder, "tasks", "show", waiting["task_id"], "--json"))["node_gone"] is False


def test_cancelled_tasks_have_no_result(folder: Path) -> None:
    ids = [task["task_id"] for task in said(shoal(folder, "tasks", "list", "--json"))]
    assert shoal(folder, "tasks", "cancel", *ids).returncode == 0
    table = shoal(folder, "tasks", "list").stdout
    assert table.count("cancelled") == 2 and "null" not in table
    waited = shoal(folder, "tasks", "wait", ids[0])
    assert (waited.returncode, waited.stdout) == (1, f"{ids[0]}  cancelled\n")


def test_a_result_that_is_null_is_shown(folder: Path) -> None:
    done = shoal(folder, "run", "a.py:stepper", "short", "--name", "other", "--json")
    task_id = json.loads(done.stdout.splitlines()[-1])["task_id"]
    assert lines(shoal(folder, "tasks", "show", task_id))["output_data"] == "null"


def test_followed_events_have_the_same_columns_and_names(folder: Path) -> None:
    newest = said(shoal(folder, "events", "--limit", "1", "--json"))[0]["event_id"]
    with begin(folder, "events", "--follow", "--after", "0") as following:
        assert following.stdout is not None
        heard = [following.stdout.readline().rstrip("\n").split("  ") for _ in range(newest)]
        following.send_signal(signal.SIGINT)
    assert {len(cells) for cells in heard} == {7}
    by_type = {cells[3]: cells for cells in heard}
    assert by_type["runtime_started"][4:6] == ["-", "-"]
    assert by_type["agent_started"][4:] == ["stepper", "-", "-"]
    assert by_type["task_started"][4] == "stepper"
    assert "stepper" in shoal(folder, "events", "--type", "agent_started").stdout


def test_metrics_tell_for_how_long_the_oldest_ready_task_has_been_ready(folder: Path) -> None:
    waiting, _ = said(shoal(folder, "tasks", "list", "--json"))
    created = datetime.fromisoformat(waiting["created_at"])
    before = datetime.now(UTC)
    age = said(shoal(folder, "metrics", "--json"))["store"]["oldest_ready_task_seconds"]
    assert (before - created).total_seconds() <= age <= (datetime.now(UTC) - created).total_seconds()
    assert shoal(folder, "tasks", "cancel", waiting["task_id"]).returncode == 0
    now = said(shoal(folder, "metrics", "--json"))["store"]
    assert (now["oldest_ready_task_seconds"], now["running_tasks"]) == (0, 1), "what runs is not ready"


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_the_doctor_calls_a_bad_configuration_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "shoal.toml").write_text("threads = 3\n[shoal]\npoll_second = 1\n")
    done = shoal(tmp_path, "doctor", "--json", variables={"SHOAL_THREDS": "3", "SHOAL_BUS": "kafka://x"})
    found = findings(done)
    assert done.returncode == 1
    assert {name for name, finding in found.items() if finding["state"] == "problem"} == {"configuration", "bus"}
    for words in ("outside of the table", "poll_seconds", "SHOAL_THREADS"):
        assert words in found["configuration"]["text"]
    assert "'kafka://x' names no known bus" in found["bus"]["text"]
    refused(shoal(tmp_path, "run", "a.py:f", "x"), 2, "there is no file a.py")
    (tmp_path / "a.py").write_text("def f(task): pass\n")
    refused(shoal(tmp_path, "run", "a.py:f", "x"), 2, "shoal.toml: threads stands outside")
    assert not (tmp_path / "shoal.db").exists()


def test_the_doctor_says_of_the_bus_what_it_says_of_the_store(tmp_path: Path, postgres_url: str) -> None:
    found = findings(shoal(tmp_path, "doctor", "--json", "--store", postgres_url))
    assert found["bus"]["state"] == "ok", "the server of the store carries it"
    assert found["bus"]["text"].startswith("PostgreSQL at ") and "at most 7,999 bytes at once" in found["bus"]["text"]
    away = shoal(tmp_path, "doctor", variables={"SHOAL_BUS": "nats://me:secret@127.0.0.1:1/x"})
    assert away.returncode == 1
    line = next(line for line in away.stdout.splitlines() if line.split()[1] == "bus")
    assert line.startswith("PROBLEM  bus ") and "NATS at nats://127.0.0.1:1 cannot be reached" in line
    assert "secret" not in away.stdout + away.stderr
    assert findings(shoal(tmp_path, "doctor", "--json"))["bus"]["state"] == "ok", "a file needs no server"


def test_the_doctor_measures_nothing_where_there_is_no_folder(tmp_path: Path) -> None:
    done = shoal(tmp_path, "doctor", "--json", "--store", str(tmp_path / "nowhere" / "shoal.db"))
    found = findings(done)
    assert (done.returncode, found["store"]["state"]) == (1, "problem")
    assert not {"file system", "fsync"} & set(found)


def test_the_doctor_names_packages_of_parts_that_exist(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name in ('uvloop', 'prometheus-client'):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
    )
    done = shoal(tmp_path, "doctor", "--json", variables=environment() | {"PYTHONPATH": str(hidden)})
    found = findings(done)
    assert done.returncode == 0
    assert found["event loop"]["advice"] == "pip install uvloop"
    assert found["monitoring"]["advice"] == "pip install prometheus-client"
    assert "shoal[" not in done.stdout
    assert not any(word in done.stdout for word in ("asyncpg", "nats", "pydantic", "starlette", "boxlite"))


@pytest.mark.parametrize("words", [[], ["tasks"], ["db"]], ids=" ".join)
def test_a_group_of_commands_alone_shows_its_help_as_it_is(tmp_path: Path, words: list[str]) -> None:
    done = shoal(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == shoal(tmp_path, *words, "--help").stdout.strip()
