"""The servers that ``shoal up --nodes`` has started are killed: they are started again, and the nodes go on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.client import Client
from shoal.cluster import LocalServers
from shoal.errors import BusError, StoreError
from shoal.kernel.agent import RestartPolicy
from shoal.testing.receivers import until
from tests.support.upping import service_folder, up

WORKERS = """
import asyncio
from shoal.services import ServiceAgent

class Worker(ServiceAgent):
    def info(self):
        return {"name": "worker", "capabilities": ["work"]}
    async def execute_task(self, task):
        await asyncio.sleep(0.05)
        return {"number": task.input_data["number"], "by": self.context.name}
    async def process_request(self, payload):
        return {"by": self.context.name}
"""
FILE = """
[runtime]
grace = "5s"

[agents.worker]
class = "workers.py:Worker"
isolation = "inline"
count = 2
"""
END_SECONDS = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with service_folder(WORKERS, FILE) as made:
        yield made


async def _submitted(client: Client, number: int) -> str:
    """Submit a task, again when that was refused: with its key it is there once."""
    while True:
        try:
            return await client.submit_task(
                "work", {"number": number}, capability="work", idempotency_key=f"work {number}"
            )
        except (StoreError, BusError):
            await asyncio.sleep(0.05)


def test_both_servers_are_killed_while_tasks_are_done(folder: Path, run: Callable[..., Any]) -> None:
    with up(folder, "services.toml", "--nodes", "2") as running:
        for name in ("1", "2"):
            running.until(rf"^node-{name}  ready: 1 service;")
        found = dict(re.findall(r"SHOAL_(\w+)='(.*)'", (folder / ".shoal-cluster" / "env").read_text()))

        async def main() -> None:
            async with Client(store=found["STORE"], bus=found["BUS"]) as client:
                ids = [await _submitted(client, number) for number in range(40)]
                for name in ("PostgreSQL", "NATS"):
                    pid, port = running.until(rf"^{name}  port (\d+)  pid (\d+)").group(2, 1)
                    os.kill(int(pid), signal.SIGKILL)
                    first = len(ids)
                    ids += [await _submitted(client, number) for number in range(first, first + 40)]
                    await asyncio.to_thread(running.until, rf"^{name}  died \(signal 9\); it is started again")
                    again = await asyncio.to_thread(running.until, rf"^{name}  port {port}  pid (?!{pid}$)(\d+)")
                    assert int(again[1]) != int(pid)
                done = await client.wait_for_tasks(ids, timeout_seconds=60)
                assert sorted(task.output_data["number"] for task in done) == list(range(120))
                assert len(set(ids)) == 120
                late = [await _submitted(client, number) for number in range(120, 160)]
                by = {task.output_data["by"] for task in await client.wait_for_tasks(late, timeout_seconds=60)}
                assert by == {"worker_0", "worker_1"}, "both nodes go on, by the bus too"
                assert len([node for node in client.list_nodes() if not node.lost]) == 2

        run(main)
        assert not [line for line in running.lines if re.match(r"node-\d  died", line)]
        assert running.end(signal.SIGTERM) == 0


def test_a_server_that_dies_too_often_is_given_up(folder: Path, run: Callable[..., Any]) -> None:
    lines: list[str] = []

    async def main() -> None:
        async with LocalServers(folder / "servers") as servers:
            policy = RestartPolicy(max_restarts=2, initial_seconds=0.01)
            keeping = asyncio.create_task(servers.keep(lines.append, policy))
            for started in range(3):
                await until(lambda count=started: len(lines) == 2 * count)  # type: ignore[misc]
                pid = servers.nats.process.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(keeping, 10)
            port = servers.nats.port
            assert [re.sub(r"pid \d+", "pid N", line) for line in lines] == [
                *["NATS  died (signal 9); it is started again", f"NATS  port {port}  pid N"] * 2,
                "NATS  died (signal 9); it is not started again",
            ]

    run(main)


def test_without_a_store_all_ends(folder: Path) -> None:
    """A server that cannot start any more is given up, says why, and the nodes do not wait for it."""
    with up(folder, "services.toml", "--nodes", "2") as running:
        for name in ("1", "2"):
            running.until(rf"^node-{name}  ready: 1 service;")
        (folder / ".shoal-cluster" / "postgres" / "data" / "global").rename(folder / "gone")
        os.kill(int(running.until(r"^PostgreSQL  port \d+  pid (\d+)")[1]), signal.SIGKILL)
        running.until(r"^PostgreSQL  died \(.*could not open file.*\); it is not started again")
        given_up = time.monotonic()
        assert running.end() == 1
        assert time.monotonic() - given_up < END_SECONDS
