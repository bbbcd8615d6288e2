"""The real command ``shoal`` beside a runtime in another process on the same file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import pty
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal import TaskStatus
from shoal.client import Client
from shoal.kernel.task import Task
from tests.support.command import GUARD_SECONDS, SHOAL, begin, environment, refused, said, shoal
from tests.support.processes import Script, script

NODE = Path(__file__).with_name("cli_node.py")
TO_START_SECONDS = 0.5  # ten times what is meant
ROUNDS = 15

AGENTS = """
import asyncio, os

class Greeter:
    async def execute_task(self, task):
        return {"greeting": f"Hello, {task.input_data['name']}!"}

def where(task):
    if task.input_data.get("message") == "bad":
        raise ValueError("no good")
    return os.getpid()

async def forever(task):
    print("begun", flush=True)
    await asyncio.sleep(600)
"""


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")  # what readers share in memory, and no part of the store
    }


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Script]:
    with script(NODE, str(tmp_path / "shoal.db")) as running:
        assert "node" in running.hear()
        yield running


def has_open(pid: int, file: Path) -> bool:
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(link))
    return str(file) in links


def waits(task: Task) -> float:
    assert task.started_at is not None
    return (task.started_at - task.created_at).total_seconds()


def test_what_is_submitted_outside_starts_at_once(tmp_path: Path, node: Script) -> None:
    ids = [shoal(tmp_path, "tasks", "submit", "t", f'{{"n": {n}}}').stdout.strip() for n in range(ROUNDS)]
    tasks = said(shoal(tmp_path, "tasks", "wait", *ids, "--json"))
    assert [task["task_id"] for task in tasks] == ids
    assert [task["output_data"] for task in tasks] == [{"n": n} for n in range(ROUNDS)]

    async def read() -> list[Task]:
        async with Client(tmp_path / "shoal.db", read_only=True) as client:
            return [client.tasks.get(task_id) for task_id in ids]

    assert statistics.median(map(waits, asyncio.run(read()))) < TO_START_SECONDS


def test_submit_and_wait_tell_how_it_ended(tmp_path: Path, node: Script) -> None:
    done = said(shoal(tmp_path, "tasks", "submit", "t", "some text", "--wait", "--json"))
    assert (done["status"], done["output_data"]) == ("completed", {"message": "some text"})
    failed = said(shoal(tmp_path, "tasks", "submit", "t", '{"fail": true}', "--wait", "--json"), code=1)
    assert failed["error_message"] == "as it was told"
    slow = said(shoal(tmp_path, "tasks", "submit", "t", '{"sleep": 600}', "--agent", "worker", "--json"))["task_id"]
    refused(shoal(tmp_path, "tasks", "wait", slow, "--timeout", "200ms"), 1, "0.2")
    both = said(shoal(tmp_path, "tasks", "wait", slow, done["task_id"], "--until", "any", "--json"))
    assert [task["task_id"] for task in both] == [done["task_id"]]


def test_a_cancel_from_outside_reaches_the_node_that_runs_it(tmp_path: Path, node: Script) -> None:
    task_id = shoal(tmp_path, "tasks", "submit", "t", '{"sleep": 600}').stdout.strip()
    assert node.hear() == {"sleeps": task_id}
    waiter = begin(tmp_path, "tasks", "wait", task_id, "--json")
    done = said(shoal(tmp_path, "tasks", "cancel", task_id, "--reason", "enough", "--json"))
    assert done == [{"task_id": task_id, "cancelled": True, "status": "cancelled"}]
    assert node.hear() == {"ended": task_id}
    out, _ = waiter.communicate(timeout=GUARD_SECONDS)
    assert (waiter.returncode, json.loads(out)[0]["error_message"]) == (1, "enough")
    again = said(shoal(tmp_path, "tasks", "cancel", task_id, "--json"), code=1)
    assert again == [{"task_id": task_id, "cancelled": False, "status": "cancelled"}]


def test_a_wait_outlives_the_node(tmp_path: Path) -> None:
    with script(NODE, str(tmp_path / "shoal.db")) as first:
        first.hear()
        task_id = shoal(tmp_path, "tasks", "submit", "t", '{"sleep": 1}').stdout.strip()
        assert first.hear() == {"sleeps": task_id}
        waiter = begin(tmp_path, "tasks", "wait", task_id, "--json")
        first.signal(signal.SIGKILL)
        first.process.wait()
    with script(NODE, str(tmp_path / "shoal.db")):
        out, errors = waiter.communicate(timeout=GUARD_SECONDS)
    assert waiter.returncode == 0, errors
    assert json.loads(out)[0]["attempt"] == 2


def test_follow_has_no_gap_and_no_double_over_the_death_of_a_node(tmp_path: Path) -> None:
    with script(NODE, str(tmp_path / "shoal.db")) as first:
        first.hear()
        follower = begin(tmp_path, "events", "--follow", "--after", "0", "--json")
        for n in range(3):
            shoal(tmp_path, "tasks", "submit", "t", f'{{"n": {n}}}', "--wait")
        first.signal(signal.SIGKILL)
        first.process.wait()
    with script(NODE, str(tmp_path / "shoal.db")) as second:
        second.hear()
        last = shoal(tmp_path, "tasks", "submit", "last", "--wait", "--json")
        newest = said(shoal(tmp_path, "events", "--limit", "1", "--json"))[0]["event_id"]
        assert follower.stdout is not None
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["event_id"] < newest:
            heard.append(json.loads(follower.stdout.readline()))
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=GUARD_SECONDS)
    assert (follower.returncode, errors) == (130, "")
    stored = said(shoal(tmp_path, "events", "--limit", "10000", "--json"))
    assert heard == [event for event in stored if event["event_id"] <= newest]
    assert "node_lost" in {event["event_type"] for event in heard}
    assert said(last)["status"] == "completed"


READERS: list[list[str]] = [
    ["agents"],
    ["tasks", "list"],
    ["tasks", "show", "TASK"],
    ["events"],
    ["metrics"],
    ["db", "info"],
    ["export", "../events.jsonl"],
    ["doctor"],
]


@pytest.mark.parametrize("killed", [False, True], ids=["after a stop", "after kill -9"])
def test_commands_that_look_leave_every_byte_as_it_is(tmp_path: Path, killed: bool) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with script(NODE, str(folder / "shoal.db")) as running:
        running.hear()
        task_id = shoal(folder, "tasks", "submit", "t", "x", "--wait", "--json")
        running.signal(signal.SIGKILL if killed else signal.SIGINT)
        running.process.wait()
    before = contents(folder)
    assert ("shoal.db-wal" in before) is killed
    for words in READERS:
        done = said(shoal(folder, *[said(task_id)["task_id"] if word == "TASK" else word for word in words], "--json"))
        assert done is not None
        assert contents(folder) == before, words


def test_commands_that_look_create_nothing(tmp_path: Path) -> None:
    for words in [*READERS[:-1], ["tasks", "submit", "t"], ["tasks", "wait", "t"], ["db", "migrate"], ["db", "prune"]]:
        refused(shoal(tmp_path, *words), 2, "there is no store at", "--store")
    assert said(shoal(tmp_path, "doctor", "--json"))
    assert list(tmp_path.iterdir()) == []


def test_they_read_beside_a_running_node(tmp_path: Path, node: Script) -> None:
    task_id = said(shoal(tmp_path, "tasks", "submit", "t", "x", "--wait", "--json"))["task_id"]
    (agent,) = said(shoal(tmp_path, "agents", "--json", "--capability", "ANY"))
    assert (agent["name"], agent["status"], agent["node_alive"]) == ("worker", "running", True)
    metrics = said(shoal(tmp_path, "metrics", "--json"))
    assert metrics["store"]["completed_tasks"] == 1
    (found,) = metrics["nodes"]
    assert (found["pid"], found["alive"], found["agents"]) == (node.process.pid, True, 1)
    assert found["memory_mb"] > 1
    types = [e["event_type"] for e in said(shoal(tmp_path, "events", "--task", task_id, "--json"))]
    assert types[0] == "task_enqueued" and types[-1] == "task_completed"
    later = shoal(tmp_path, "tasks", "submit", "later", "--delay", "1h", "--key", "k").stdout.strip()
    assert shoal(tmp_path, "tasks", "submit", "later", "--delay", "1h", "--key", "k").stdout.strip() == later
    assert said(shoal(tmp_path, "tasks", "show", later, "--json"))["queue_position"]["reason"] == "not_before"
    gone = said(shoal(tmp_path, "db", "prune", "--older-than", "0s", "--json"))
    assert gone["tasks"] == 1 and gone["events"] > 0
    assert [task["task_id"] for task in said(shoal(tmp_path, "tasks", "list", "--json"))] == [later]
    node.signal(signal.SIGKILL)
    node.process.wait()
    assert said(shoal(tmp_path, "agents", "--json"))[0]["node_alive"] is False


def test_bad_usage_and_store_trouble_are_a_line_and_a_code(tmp_path: Path, node: Script) -> None:
    refused(shoal(tmp_path, "tasks", "lst"), 2, "No such command 'lst'", "list", "shoal tasks --help")
    refused(shoal(tmp_path, "tasks", "list", "--status", "odd"), 2, "odd")
    refused(shoal(tmp_path, "tasks", "show", "nope"), 2, "'nope' not found")
    refused(shoal(tmp_path, "tasks", "cancel", "nope"), 2, "'nope' not found")
    refused(shoal(tmp_path, "tasks", "submit", "t", "--agent", "wrker"), 2, "worker")
    refused(shoal(tmp_path, "tasks", "submit", "t", "--agent", "a", "--group", "b"), 2, "at most one target")
    refused(shoal(tmp_path, "tasks", "submit", "t", "--priority", "101"), 2, "priority must be 0 to 100", "101")
    refused(shoal(tmp_path, "tasks", "submit", "t", "--after", "nope"), 2, "nope")
    refused(shoal(tmp_path, "tasks", "submit", "t", "--delay", "soon"), 2, "'soon' is no duration", "10m")
    refused(shoal(tmp_path, "events", "--since", "tomorrow"), 2, "'tomorrow' is no time")
    refused(shoal(tmp_path, "events", "--agent", "nobody"), 2, "'nobody' not found")
    refused(shoal(tmp_path, "export", "no/such/folder.csv", "--format", "csv"), 2, "no/such")
    refused(shoal(tmp_path, "agents", "--store", "sqlite://:memory:"), 2, "in memory")
    refused(shoal(tmp_path, "agents", "--store", "mysql://x"), 2, "store must be sqlite:///FILE")
    (tmp_path / "text.db").write_text("x" * 200)
    for words in (["agents"], ["tasks", "submit", "t"], ["db", "migrate"]):
        refused(shoal(tmp_path, *words, "--store", "text.db"), 3, "is not a database")
    assert (tmp_path / "text.db").read_text() == "x" * 200
    shown = shoal(tmp_path, "--debug", "agents", "--store", "text.db")
    assert shown.returncode == 3 and "Traceback" in shown.stderr
    assert shoal(tmp_path, "agents", "--store", "text.db", "--debug").stderr == shown.stderr
    assert shoal(tmp_path, "version").stdout == shoal(tmp_path, "--version").stdout


def test_run_prints_each_result(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(AGENTS)
    done = shoal(tmp_path, "run", "a.py:Greeter", '{"name": "Alice"}', '{"name": "Bob"}', "--concurrency", "2")
    assert done.returncode == 0, done.stderr
    assert {line.partition(": ")[2] for line in done.stdout.splitlines()} == {
        '{"greeting":"Hello, Alice!"}',
        '{"greeting":"Hello, Bob!"}',
    }
    pids = {}
    for isolation in ("inline", "thread", "process"):
        lines = shoal(tmp_path, "run", "a.py:where", "x", "bad", "--isolation", isolation, "--json", "--retries", "0")
        assert lines.returncode == 1
        found = {line["index"]: line for line in map(json.loads, lines.stdout.splitlines())}
        assert (found[0]["status"], found[1]["status"]) == ("completed", "failed")
        assert (found[1]["error_type"], found[1]["error_message"]) == ("ValueError", "no good")
        pids[isolation] = found[0]["output"]
    assert len(set(pids.values())) == 3
    late = shoal(tmp_path, "run", "a.py:forever", "x", "--timeout", "300ms", "--json")
    assert (late.returncode, json.loads(late.stdout.splitlines()[-1])["error_type"]) == (1, "TaskTimeoutError")


def test_run_refuses_what_is_no_agent(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(AGENTS)
    (tmp_path / "broken.py").write_text("import json\nraise LookupError('x')\n")
    (tmp_path / "wrong.py").write_text("def f(:\n")
    refused(shoal(tmp_path, "run", "a.py", "x"), 2, "names no agent", "FILE.py:NAME")
    refused(shoal(tmp_path, "run", "b.py:f", "x"), 2, "there is no file b.py")
    refused(shoal(tmp_path, "run", "a.py:Greter", "x"), 2, "did you mean 'Greeter'?")
    refused(shoal(tmp_path, "run", "broken.py:f", "x"), 2, "LookupError: x", "line 2")
    refused(shoal(tmp_path, "run", "wrong.py:f", "x"), 2, "SyntaxError")
    refused(shoal(tmp_path, "run", "a.py:where"), 2, "INPUT")
    refused(shoal(tmp_path, "run", "a.py:AGENTS", "x"), 2, "AGENTS")
    refused(shoal(tmp_path, "run", "a.py:os", "x"), 2)
    refused(shoal(tmp_path, "run", "a.py:where", "x", "--isolation", "gviser"), 2, "gviser", "'gvisor'", "'process'")


def test_ctrl_c_cancels_what_has_not_ended(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(AGENTS)
    running = begin(tmp_path, "run", "a.py:forever", "x", "y")
    assert running.stdout is not None and running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=GUARD_SECONDS)
    assert running.returncode == 130 and "Traceback" not in errors
    tasks = said(shoal(tmp_path, "tasks", "list", "--json"))
    assert [task["status"] for task in tasks] == [TaskStatus.CANCELLED] * 2


def test_a_killed_client_leaves_the_node_as_it_was(tmp_path: Path, node: Script) -> None:
    task_id = shoal(tmp_path, "tasks", "submit", "t", '{"sleep": 600}').stdout.strip()
    node.hear()
    waiter = begin(tmp_path, "tasks", "wait", task_id)
    deadline = time.monotonic() + GUARD_SECONDS
    while not has_open(waiter.pid, tmp_path / "shoal.db"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiter.kill()
    waiter.communicate()
    assert said(shoal(tmp_path, "tasks", "submit", "t", "x", "--wait", "--json"))["status"] == "completed"
    assert said(shoal(tmp_path, "tasks", "cancel", task_id, "--json"))[0]["cancelled"] is True
    types = {event["event_type"] for event in said(shoal(tmp_path, "events", "--limit", "1000", "--json"))}
    assert "node_lost" not in types and "orphan_killed" not in types


def test_a_terminal_gets_a_bar_and_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(AGENTS)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [SHOAL, "run", "a.py:where", "x", "y"],
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += piece
            if not piece:
                break
    os.close(ours)
    assert running.returncode == 0
    assert shown.count(b"completed in") == 2 and b"tasks" in shown and b"\x1b[" in shown
    table = shoal(tmp_path, "tasks", "list").stdout.splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "STATUS"] and len(table) == 3
