"""The server that takes writes dies for good, and its standby is made the one: nothing acknowledged is lost, nodes go on."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from shoal import AgentRuntime
from shoal.client import Client
from shoal.cluster import PostgresServer
from shoal.cluster.postgres import _programs
from shoal.cluster.process import HOST, run_to_end
from shoal.errors import BusError, DeadAgentError, StoreError
from shoal.kernel.clock import RealClock
from shoal.services import RequestError
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.nodes import Fleet, begun

TASKS = 400


class Two(NamedTuple):
    """A server that takes writes and one that copies them: a commit is answered when both have it."""

    first: PostgresServer
    second: PostgresServer

    @property
    def url(self) -> str:
        """The URL that names both."""
        return self.first.url.replace(f"{HOST}:{self.first.port}", self._hosts)

    @property
    def _hosts(self) -> str:
        return f"{HOST}:{self.first.port},{HOST}:{self.second.port}"


async def _ask(server: PostgresServer, *statements: str) -> Any:
    connection = await asyncpg.connect(server.url)
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


@pytest.fixture
def two() -> Iterator[Two]:
    """Two servers, the second with a copy that follows the first."""
    folder = fresh_folder()
    folder.chmod(0o755)
    servers = Two(*(PostgresServer(folder / name, settings=UNSYNCED) for name in ("first", "second")))

    async def begin() -> None:
        first, second = servers
        await first.start()
        second._prepare_folder()
        programs = second._reachable(_programs())
        copy = [str(programs / "pg_basebackup"), "-d", first.url, "-D", str(second.folder / "data"), "-R", "-c", "fast"]
        await run_to_end([*copy, "--no-sync"], second.folder / "copy.log", second._user, RealClock())
        shutil.copy(first.folder / "password", second.folder / "password")
        await second.start()
        await _ask(first, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        while await _ask(first, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != 1:
            await asyncio.sleep(0.02)

    async def end() -> None:
        for server in servers:
            await server.stop()

    try:
        asyncio.run(begin())
        yield servers
    finally:
        asyncio.run(end())
        shutil.rmtree(folder)


async def _submit(client: Client, acknowledged: list[str], number: int) -> None:
    while True:
        try:
            given = {"number": number}
            acknowledged.append(await client.submit_task("work", given, capability="work", idempotency_key=f"{number}"))
        except (StoreError, BusError):
            await asyncio.sleep(0.05)
        else:
            return


async def _greeted(runtime: AgentRuntime) -> None:
    """Wait until the other node's service answers through the bus, which listens at the server that is there now."""
    while True:
        try:
            assert await runtime.services.request("greeter-one", {}) == {"version": "1.0"}
        except (DeadAgentError, RequestError, BusError, StoreError):
            await asyncio.sleep(0.05)
        else:
            return


def test_the_standby_takes_over(two: Two, tmp_path: Path, run: Callable[..., Any]) -> None:
    fleet = Fleet(two.url, tmp_path)
    plan: dict[str, Any] = {"workers": 2, "pause": 0.02, "service": True}
    with fleet.node("one", **plan) as one, fleet.node("two", **plan) as other:

        async def main() -> None:
            acknowledged: list[str] = []
            async with Client(store=two.url) as client, AgentRuntime(store=two.url, node="asking") as runtime:
                await _greeted(runtime)
                submitting = asyncio.ensure_future(_each(client, acknowledged))
                while len(acknowledged) < TASKS // 4:
                    await asyncio.sleep(0.01)
                await two.first.process.kill()
                before = len(acknowledged)
                await asyncio.sleep(0.3)
                await _ask(two.second, "SELECT pg_promote()")
                await submitting
                assert before < TASKS
                done = await client.wait_for_tasks(acknowledged, timeout_seconds=60)
                assert [task.output_data["number"] for task in done] == list(range(TASKS))
                await _greeted(runtime)
                assert {node.name for node in client.list_nodes() if not node.lost} == {"one", "two", "asking"}
                assert await _ask(two.second, "SELECT pg_is_in_recovery()") is False

        run(main)
        assert one.process.poll() is None and other.process.poll() is None, "the same nodes go on"
    counts = Counter(len(nodes) for nodes in begun(fleet.history()).values())
    assert counts[1] == TASKS, "what was acknowledged was done, and once"


async def _each(client: Client, acknowledged: list[str]) -> None:
    for number in range(TASKS):
        await _submit(client, acknowledged, number)
