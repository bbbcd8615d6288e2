"""A node of a test that is a process of its own: ``python -m tests.lifecycle.store_postgres.peer URL NODE POINT``.

It writes a task, says so when it is at POINT of that commit, and stays there. What it is told to go on by is SIGCONT.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from shoal.store.postgres.store import PostgresStore
from shoal.testing.store_queue_frame import NOW, new, node, submit


async def main(url: str, node_id: str, verb: str) -> None:
    """Stop in the midst of a commit, go on when told so, and say what became of it."""
    store = PostgresStore(url)
    await store.open()
    await store.leases.join(node(node_id), now=NOW)

    def stop(point: str) -> None:
        if point == "before_commit":
            store.database.faults = None
            print("inside", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)

    store.database.faults = stop
    if verb == "enqueue":
        await submit(store, new(f"of-{node_id}"))
    else:
        await store.kv.set("of", node_id, now=NOW)
    print("written", flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
