"""A node leaves in order while its PostgreSQL restarts: it ends, nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import TaskSpec
from shoal.client import Client
from shoal.cluster import PostgresServer
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.nodes import Fleet, begun
from tests.support.runtimes import until

TASKS = 300
AWAY_SECONDS = 2.0


@pytest.mark.parametrize("how", ["signal", "order"])
def test_a_drain_while_the_server_restarts(tmp_path: Path, run: Callable[..., Any], how: str) -> None:
    async def main() -> None:
        server = PostgresServer(fresh_folder(), settings=UNSYNCED)
        try:
            await server.start()
            fleet = Fleet(server.url, tmp_path)
            plan: dict[str, Any] = {"workers": 2, "pause": 0.05}
            with fleet.node("leaving", **plan) as leaving, fleet.node("staying", **plan):
                async with Client(store=server.url) as client:
                    specs = [TaskSpec(name="work", input_data={"number": n}, capability="work") for n in range(TASKS)]
                    ids = await client.submit_tasks(specs)
                    await until(lambda: sum(line["node"] == "leaving" for line in fleet.history()) > 30)
                    if how == "signal":
                        leaving.signal(signal.SIGTERM)
                    else:
                        (node,) = (each for each in client.list_nodes() if each.name == "leaving")
                        assert await client.drain_node(node.node_id, 20)
                    await server.process.kill()
                    await asyncio.sleep(AWAY_SECONDS)
                    await server.start()
                    await until(lambda: leaving.process.poll() is not None, 40)
                    done = await client.wait_for_tasks(ids, timeout_seconds=60)
                    assert {str(task.status) for task in done} == {"completed"}
                    assert [node.name for node in client.list_nodes()] == ["staying"]
                    kinds = [event.task_id for event in client.query_events("task_completed", limit=10_000)]
                    assert sorted(kinds, key=str) == sorted(ids)
            assert leaving.process.returncode == 0
            history = fleet.history()
            assert {number: nodes for number, nodes in begun(history).items() if len(nodes) > 1} == {}
            assert sorted(line["end"] for line in history if "end" in line) == list(range(TASKS))
        finally:
            await server.stop()
            shutil.rmtree(server.folder)

    run(main)
