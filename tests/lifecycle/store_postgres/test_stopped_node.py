"""A node that is stopped inside a transaction holds the others for a few seconds at most, and is done no harm."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW, new, node, submit

HELD_SECONDS = 10.0


@pytest.mark.parametrize("verb", ["enqueue", "set"])
def test_a_node_stopped_before_its_commit(postgres_url: str, verb: str) -> None:
    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        command = [sys.executable, "-m", "tests.lifecycle.store_postgres.peer", postgres_url, "n2", verb]
        stopped = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert stopped.stdout is not None
            assert await asyncio.to_thread(stopped.stdout.readline) == "inside\n"
            begun = time.monotonic()
            await asyncio.gather(submit(store, new("of-n1")), store.kv.set("key", 1, now=NOW))
            assert time.monotonic() - begun < HELD_SECONDS
            stopped.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(stopped.stdout.readline) == "written\n"
            assert stopped.wait(10) == 0
        finally:
            stopped.kill()
            stopped.wait()
            if stopped.stdout is not None:
                stopped.stdout.close()
        names = sorted(task.name for task in store.tasks.search())
        assert names == (["of-n1", "of-n2"] if verb == "enqueue" else ["of-n1"])
        found = store.kv.get("of", now=NOW)
        assert (found is not None) == (verb == "set") and (found is None or found.version == 1)
        await store.close()

    asyncio.run(main())
