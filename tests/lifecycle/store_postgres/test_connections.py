"""How many connections a node holds: what docs/how-to/past-one-machine.md says of ``max_connections``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.runtimes import running, until

Run = Callable[..., Any]
IDLE, BUSY = 3, 7


async def _one(task: Any) -> int:
    return 1


def test_connections_of_a_node(postgres_url: str, ask_postgres: Callable[[str], Any], run: Run) -> None:
    database = postgres_url.rpartition("/")[2]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'shoal'"

    async def main() -> None:
        async with running(postgres_url, {"one": _one}, lease_seconds=1) as runtime:
            ended = runtime.services.node.env.lease_until
            await until(lambda: runtime.services.node.env.lease_until != ended)
            assert IDLE <= await asyncio.to_thread(ask_postgres, query) <= BUSY
            ids = [await runtime.submit_task("t", agent="one") for _ in range(50)]
            await asyncio.gather(*(runtime.store.tasks.find(ids) for _ in range(50)))
            await asyncio.gather(*(runtime.wait_for_task(task_id) for task_id in ids))
            assert await asyncio.to_thread(ask_postgres, query) == BUSY

    run(main)
