"""``shoal up`` as a user runs it: real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import GUARD_SECONDS, begin, refused, said, shoal
from tests.support.processes import gone
from tests.support.runtimes import running
from tests.support.terminal import terminal
from tests.support.upping import Up, up

BOTH = [signal.SIGINT, signal.SIGTERM]
CLASSES = """
import asyncio, os, time
from shoal.services import ServiceAgent

class Worker(ServiceAgent):
    count = 0
    def info(self):
        return {"name": "worker", "capabilities": ["work"]}
    def on_resume(self, state):
        self.count = state["count"]
    async def process_request(self, payload):
        self.count += 1
        await self.context.checkpoint({"count": self.count})
        print("begun", flush=True)
        await asyncio.sleep(payload.get("seconds", 0))
        while "file" in payload and not os.path.exists(payload["file"]):
            await asyncio.sleep(0.01)
        return {"pid": os.getpid(), "count": self.count, "config": self.config}

class Fails(Worker):
    def on_start(self):
        raise RuntimeError("no disk")

class Nameless(Worker):
    def info(self):
        return {"name": "nameless"}

class Crashes(Worker):
    def info(self):
        return {"name": "crashes", "capabilities": ["work"]}
    async def on_start(self):
        asyncio.get_running_loop().call_later(0.05, os._exit, 3)
"""
THREE = """
[agents.worker]
class = "workers.py:Worker"
count = 2
options = { factor = 2 }

[agents.here]
class = "workers.py:Worker"
isolation = "inline"
"""


def write(folder: Path, text: str = THREE) -> Path:
    (folder / "workers.py").write_text(CLASSES)
    (folder / "services.toml").write_text(text)
    return folder


def until_gone(*pids: int, seconds: float = GUARD_SECONDS) -> None:
    limit = time.monotonic() + seconds
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < limit, pids
        time.sleep(0.005)


@contextmanager
def calling(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Ask a service, and go on meanwhile."""
    asked = begin(folder, "call", *words)
    try:
        yield asked
    finally:
        asked.kill()
        asked.communicate()


def ready(running: Up, number: int) -> None:
    running.until(rf"^ready: {number} services?;")


@pytest.mark.parametrize("number", BOTH)
def test_it_runs_what_the_file_says_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        pids = {running.pid("worker_0"), running.pid("worker_1")}
        assert len(pids) == 2 and running.process.pid not in pids
        assert running.lines[0] == "services.toml  store ./shoal.db"
        assert "here_0  runs" in running.lines, "it has no process of its own"
        found = said(shoal(tmp_path, "discover", "--json"))
        assert {each["instance"]: each["pid"] for each in found if each["pid"]} == {
            name: running.pid(name) for name in ("worker_0", "worker_1")
        }
        assert said(shoal(tmp_path, "call", "worker_1", "{}"))["config"] == {"factor": 2}
        assert running.end(number) == 0
        until_gone(*pids, seconds=1)
        assert running.errors == ["stopping: requests under way end; once more to end now"]
        assert {"worker_0  has ended", "worker_1  has ended", "here_0  has ended"} <= set(running.lines)
    assert said(shoal(tmp_path, "discover", "--all", "--json")) == [], "a clean end leaves nobody"


def test_a_killed_service_comes_back_under_its_name_with_its_state(tmp_path: Path) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        assert said(shoal(tmp_path, "call", "worker_0", "{}"))["count"] == 1
        first = running.pid("worker_0")
        os.kill(first, signal.SIGKILL)
        running.until(r"^worker_0  runs again  pid \d+  restart 1$")
        assert any(line.startswith("worker_0  died (signal 9)") for line in running.lines)
        answer = said(shoal(tmp_path, "call", "worker_0", "{}"))
        assert (answer["count"], answer["pid"]) == (2, running.pid("worker_0")) and answer["pid"] != first
        assert answer["config"] == {"factor": 2}
        assert running.end(signal.SIGTERM) == 0, "a death that was mended is no failure"


@pytest.mark.spec("S23")
def test_killed_itself_its_services_end_and_the_next_one_takes_up_names_and_states(tmp_path: Path) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        assert said(shoal(tmp_path, "call", "worker_1", "{}"))["count"] == 1
        pids = [running.pid("worker_0"), running.pid("worker_1")]
        running.end(signal.SIGKILL)
        until_gone(*pids, seconds=1)
        refused(shoal(tmp_path, "call", "worker_1", "{}"), 4, "AGENT_DIED", "it is ending, or its node is gone")
        gone_ones = said(shoal(tmp_path, "discover", "--all", "--json"))
        assert {each["state"] for each in gone_ones} == {"node gone"}
    with up(tmp_path) as running:
        ready(running, 3)
        names = [each["instance"] for each in said(shoal(tmp_path, "discover", "--json"))]
        assert sorted(names) == ["here_0", "worker_0", "worker_1"]
        assert said(shoal(tmp_path, "call", "worker_1", "{}"))["count"] == 2
        assert running.end(signal.SIGTERM) == 0


def test_what_is_under_way_ends_and_nothing_new_is_taken(tmp_path: Path) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        with calling(tmp_path, "here_0", '{"file": "end"}') as asked:
            running.until("^begun$")
            running.process.send_signal(signal.SIGTERM)
            running.until("^here_0  ends$")
            refused(shoal(tmp_path, "call", "here_0", "{}"), 4, "DRAINING")
            (tmp_path / "end").touch()
            assert asked.wait(GUARD_SECONDS) == 0, "it has its answer"
        assert running.end() == 0


def test_what_does_not_end_within_the_grace_is_cancelled(tmp_path: Path) -> None:
    with up(write(tmp_path, f'[runtime]\ngrace = "200ms"\n{THREE}')) as running:
        ready(running, 3)
        with calling(tmp_path, "here_0", '{"seconds": 600}') as asked:
            running.until("^begun$")
            began = time.monotonic()
            assert running.end(signal.SIGTERM) == 0
            assert time.monotonic() - began < 8
            assert asked.wait(GUARD_SECONDS) == 4
            assert asked.stderr is not None and "CANCELLED" in asked.stderr.read()


@pytest.mark.parametrize("number", BOTH)
def test_a_second_signal_ends_all_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with up(write(tmp_path, f'[runtime]\ngrace = "10min"\n{THREE}')) as running:
        ready(running, 3)
        pids = [running.pid("worker_0"), running.pid("worker_1")]
        with calling(tmp_path, "here_0", '{"seconds": 600}') as asked:
            running.until("^begun$")
            running.process.send_signal(signal.SIGTERM)
            running.until("^here_0  ends$")
            assert running.end(number) == 128 + number
            until_gone(*pids, seconds=1)
            assert asked.wait(GUARD_SECONDS) == 4, "the caller hears of the death"


@pytest.mark.parametrize("place", ["^services.toml", "^here_0  runs", "^worker_1  runs"])
def test_a_signal_while_it_starts_ends_it(tmp_path: Path, place: str) -> None:
    text = THREE.replace("count = 2", "count = 20")
    with up(write(tmp_path, text)) as running:
        running.until(place)
        assert running.end(signal.SIGTERM) == 0
    assert said(shoal(tmp_path, "discover", "--all", "--json")) == []


def test_one_that_cannot_start_is_told_and_the_others_run(tmp_path: Path) -> None:
    bad = '[agents.fails]\nclass = "workers.py:Fails"\n[agents.nameless]\nclass = "workers.py:Nameless"\ncount = 3\n'
    with up(write(tmp_path, bad + THREE)) as running:
        ready(running, 3)
        fails, nameless = sorted(running.errors)
        assert fails.startswith("shoal: fails: could not be started: ")
        assert fails.endswith("failed to start: RuntimeError: no disk")
        assert nameless == (
            "shoal: nameless: 3 of them could not be started: what info() says cannot be: capabilities: missing"
        )
        assert said(shoal(tmp_path, "call", "worker_0", "{}"))["count"] == 1
        assert running.end(signal.SIGTERM) == 1, "the exit code tells"


def test_where_none_can_start_it_ends(tmp_path: Path) -> None:
    done = shoal(write(tmp_path, '[agents.n]\nclass = "workers.py:Nameless"\n'), "up", "services.toml")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "shoal: no service is left that runs"


def test_one_that_dies_too_often_stays_down_and_the_others_run(tmp_path: Path) -> None:
    crash = (
        '[agents.crash]\nclass = "workers.py:Crashes"\n'
        "restart = { max_restarts = 2, initial_seconds = '10ms', window_seconds = '1h' }\n"
    )
    with up(write(tmp_path, crash + THREE)) as running:
        running.until(r"^crash_0  died \(exit code 3\).*; it is not started again$")
        assert said(shoal(tmp_path, "call", "worker_0", "{}"))["count"] == 1
        (lost,) = [each for each in said(shoal(tmp_path, "discover", "--all", "--json")) if each["state"] == "failed"]
        assert lost["instance"] == "crash_0"
        assert running.end(signal.SIGTERM) == 1
    alone = shoal(write(tmp_path, crash), "up", "services.toml", "--store", "other.db")
    assert alone.returncode == 1 and "no service is left that runs" in alone.stderr


def test_two_at_once_take_the_next_numbers(tmp_path: Path) -> None:
    with up(write(tmp_path)) as first:
        ready(first, 3)
        with up(tmp_path) as second:
            ready(second, 3)
            assert second.pid("worker_2") and second.pid("worker_3")
            names = {each["instance"] for each in said(shoal(tmp_path, "discover", "work", "--json"))}
            assert names == {"here_0", "here_1", *(f"worker_{number}" for number in range(4))}
            assert said(shoal(tmp_path, "control", "worker_3", "status"))["state"] == "running"
            assert second.end(signal.SIGINT) == 0
        names = {each["instance"] for each in said(shoal(tmp_path, "discover", "work", "--json"))}
        assert names == {"here_0", "worker_0", "worker_1"}


def test_all_of_them_shut_down_it_ends(tmp_path: Path) -> None:
    with up(write(tmp_path, '[agents.w]\nclass = "workers.py:Worker"\n')) as running:
        ready(running, 1)
        assert shoal(tmp_path, "control", "w_0", "shutdown").stdout == "Shutting down\n"
        assert running.end() == 0
        assert running.errors == ["shoal: no service is left that runs"]


def test_a_registry_whose_port_is_taken_starts_nothing(tmp_path: Path) -> None:
    with up(write(tmp_path, f"[registry]\nport = 0\n{THREE}")) as running:
        ready(running, 3)
        (tmp_path / "services.toml").write_text(f"[registry]\nport = {running.url.rpartition(':')[2]}\n{THREE}")
        refused(shoal(tmp_path, "up", "services.toml"), 1, "the registry cannot be served on 127.0.0.1, port")
        assert len(said(shoal(tmp_path, "discover", "--json"))) == 3
        assert running.end(signal.SIGTERM) == 0


def test_the_store_is_that_of_the_line_then_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, f'[runtime]\nstore = "of-file.db"\n{THREE}')
    for words, name in (((), "of-file.db"), (("--store", "of-line.db"), "of-line.db")):
        with up(tmp_path, "services.toml", *words) as running:
            ready(running, 3)
            assert running.lines[0].endswith(f"store {name}")
            assert running.end(signal.SIGTERM) == 0
        with sqlite3.connect(tmp_path / name) as store:
            (count,) = store.execute("select count(*) from events").fetchone()
        store.close()
        assert count


def test_bad_files_start_nothing(tmp_path: Path) -> None:
    done = shoal(write(tmp_path, '[agents.w]\nclass = "workers.py:Wroker"\ncount = 0\n'), "up", "services.toml")
    refused(done, 2, "line 2: [agents.w] class:", "did you mean 'Worker'?", "line 3: [agents.w] count must")
    assert not list(tmp_path.glob("*.db"))


def test_on_a_terminal_the_list_is_drawn_in_place(tmp_path: Path) -> None:
    with terminal(write(tmp_path), "up", "services.toml") as shown:
        shown.until("worker_1  running")
        listed = shown.until("here_0    running")
        victim = said(shoal(tmp_path, "discover", "--json"))
        os.kill(next(each["pid"] for each in victim if each["instance"] == "worker_0"), signal.SIGKILL)
        shown.until("restart 1", listed)
        shown.type("\x03")
        assert shown.end() == 0
    lines = [line for line in shown.screen if line]
    assert lines[:2] == ["services.toml  store ./shoal.db", "all have ended"]
    assert "worker_0  has ended" not in shown.shown and "\x1b[?25h" in shown.shown[-20:]


async def give_up(url: str) -> None:
    """Give up all other nodes, as happens to who was frozen for longer than a lease lasts."""
    async with running(url) as runtime:
        leases, here = runtime.store.leases, runtime.services.node.env
        others = [node.node_id for node in leases.nodes() if node.node_id != here.node_id]
        await leases.rescue(others, now=here.clock.now(), max_interruptions=1)


def test_who_was_given_up_ends_and_says_so(tmp_path: Path) -> None:
    """Without an end nobody would start it again, and it would stand there without services."""
    with up(write(tmp_path)) as shown:
        shown.until("ready: 3 services")
        asyncio.run(give_up(f"sqlite:///{tmp_path}/shoal.db"))
        assert shown.process.wait(GUARD_SECONDS) == 1
        shown.end()
        assert any("lost its lease" in line for line in shown.errors if line.startswith("shoal: "))
