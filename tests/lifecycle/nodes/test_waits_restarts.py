"""PostgreSQL and NATS restart between a submission and its end: every wait is answered by the next sweep."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import TaskSpec
from shoal.client import Client
from shoal.cluster import NatsServer, PostgresServer
from shoal.errors import StoreError
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.nodes import Fleet, begun
from tests.support.runtimes import until

TASKS = 40
ROUNDS = 3
LATE_SECONDS = 4.0
"""Some sweeps of a second; the tenth, which looks at all the same, comes later."""


async def _all_done(client: Client) -> float:
    """Return when the store had the end of all tasks."""
    while True:
        try:
            counts = await client.store.aside(client.store.tasks.counts)
        except StoreError:
            counts = {"pending": 1}
        if not counts["pending"] and not counts.get("running"):
            return time.monotonic()
        await asyncio.sleep(0.05)


def test_waits_are_answered_when_both_servers_restart(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        postgres, nats = PostgresServer(fresh_folder(), settings=UNSYNCED), NatsServer(fresh_folder())
        try:
            await asyncio.gather(postgres.start(), nats.start())
            monkeypatch.setenv("SHOAL_BUS", nats.url)
            assert os.environ["SHOAL_BUS"]
            fleet = Fleet(postgres.url, tmp_path)
            with fleet.node("one", workers=1), fleet.node("two", workers=1):
                async with Client(store=postgres.url) as client:
                    for number in range(ROUNDS):
                        await _round(client, fleet, number * TASKS, (postgres, nats))
            assert {piece: nodes for piece, nodes in begun(fleet.history()).items() if len(nodes) > 1} == {}
        finally:
            await asyncio.gather(postgres.stop(), nats.stop())
            for server in (postgres, nats):
                shutil.rmtree(server.folder)

    async def _round(client: Client, fleet: Fleet, first: int, servers: tuple[PostgresServer, NatsServer]) -> None:
        before = len(fleet.history())
        given: list[dict[str, Any]] = [{"number": first + n, "pause": 0.3} for n in range(TASKS)]
        ids = await client.submit_tasks([TaskSpec(name="w", input_data=each, capability="work") for each in given])
        waits = [asyncio.ensure_future(client.wait_for_task(each)) for each in ids]
        await until(lambda: len(fleet.history()) > before + 4)
        await asyncio.gather(*(server.process.kill() for server in servers))
        await asyncio.gather(*(server.start() for server in servers))
        ended = await _all_done(client)
        async with asyncio.timeout(60):
            assert {str(task.status) for task in await asyncio.gather(*waits)} == {"completed"}
        assert time.monotonic() - ended < LATE_SECONDS

    run(main)
