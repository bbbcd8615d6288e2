"""``shoal up --nodes``: several nodes on this machine, on servers of their own or on a store that is named."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import GUARD_SECONDS, environment, refused, said, shoal
from tests.support.processes import gone
from tests.support.upping import Up, service_folder, up

WORKERS = """
import os
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
        return {"pid": os.getpid(), "count": self.count}
"""
FILE = """
[agents.worker]
class = "workers.py:Worker"
count = 3

[agents.inside]
class = "workers.py:Worker"
isolation = "inline"
"""
END_SECONDS = 2.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with service_folder(WORKERS, FILE) as made:
        yield made


def _nodes(running: Up) -> dict[str, int]:
    """Return the nodes that run, by name."""
    found = [re.match(r"(\S+-\d)  runs  pid (\d+)$", line) for line in running.lines]
    return {match[1]: int(match[2]) for match in found if match is not None}


def _ready(running: Up) -> None:
    for name in ("1", "2"):
        running.until(rf"^\S+-{name}  ready: 2 services")


def _pids(running: Up) -> set[int]:
    return {int(found[1]) for line in running.lines if (found := re.search(r"pid (\d+)", line))}


def test_a_cluster_of_its_own(folder: Path) -> None:
    """It starts its servers, starts a dead node again, leaves nothing when it is killed, and goes on with what it kept."""
    with up(folder, "services.toml", "--nodes", "2") as running:
        _ready(running)
        environ = {"SHOAL_STORE": _variable(folder, "STORE"), "SHOAL_BUS": _variable(folder, "BUS")}
        assert said(shoal(folder, "call", "inside_0", "{}", variables=environ))["count"] == 1
        listed = said(shoal(folder, "nodes", "--json", variables=environ))
        assert sorted((node["name"], node["status"], node["agents"]) for node in listed) == [
            ("node-1", "running", 2), ("node-2", "running", 2),
        ]  # fmt: skip
        first = _nodes(running)["node-1"]
        os.kill(first, signal.SIGKILL)
        running.until(r"^node-1  died \(signal 9\); it is started again")
        limit = time.monotonic() + GUARD_SECONDS
        while sum(line == "node-1  ready: 2 services; Ctrl-C ends" for line in running.lines) < 2:
            assert time.monotonic() < limit, running.lines
            time.sleep(0.01)
        found = said(shoal(folder, "discover", "--json", variables=environ))
        assert sorted(each["instance"] for each in found) == ["inside_0", "worker_0", "worker_1", "worker_2"]
        began = time.monotonic()
        running.process.kill()
        while not all(gone(pid) for pid in _pids(running) - {running.process.pid}):
            assert time.monotonic() - began < END_SECONDS * 3, "as a guard"
            time.sleep(0.01)
        took = time.monotonic() - began
        assert took < END_SECONDS * 3, took
    with up(folder, "services.toml", "--nodes", "2") as again:
        _ready(again)
        environ = {"SHOAL_STORE": _variable(folder, "STORE"), "SHOAL_BUS": _variable(folder, "BUS")}
        left = shoal(folder, "drain", "node-2", variables=environ)
        assert (left.returncode, left.stdout) == (0, "node-2 has left\n"), left.stderr
        again.until(r"^node-2  has left")
        started = said(
            shoal(
                folder,
                "events",
                "--type",
                "runtime_started",
                "--json",
                variables=environ,
            )
        )
        assert len(started) == 5, "what the first one did is known"
        assert again.end(signal.SIGTERM) == 0


def _variable(folder: Path, name: str) -> str:
    found = re.search(rf"SHOAL_{name}='(.*)'", (folder / ".shoal-cluster" / "env").read_text())
    assert found is not None
    return found[1]


def test_on_a_store_that_is_named_nothing_else_is_started(folder: Path, store_url: str) -> None:
    variables = {"SHOAL_BUS": os.environ["SHOAL_BUS"]} if "SHOAL_BUS" in os.environ else {}
    with up(folder, "services.toml", "--nodes", "2", "--store", store_url, **variables) as running:
        _ready(running)
        assert running.lines[0].endswith("no servers: a store is named by the file, --store or SHOAL_STORE")
        assert not any(line.startswith(("PostgreSQL", "NATS")) for line in running.lines)
        assert not (folder / ".shoal-cluster").exists()
        assert running.end(signal.SIGINT) == 0
        assert sum(line.endswith("has left") for line in running.lines) == 2


def test_more_nodes_than_services_are_refused(folder: Path) -> None:
    for number in ("0", "5"):
        done = shoal(folder, "up", "services.toml", "--nodes", number, variables=environment())
        refused(done, 2, "--nodes must be from 1 to 4 here (4 services)")
