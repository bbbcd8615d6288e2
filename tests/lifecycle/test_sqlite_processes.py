"""One file, several processes: no update is lost, and what was acknowledged survives ``kill -9``."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.kernel.event import EventFilter
from shoal.kernel.ports import Fence, Node, Outcome, Settlement
from shoal.kernel.room import Room, Slot
from shoal.store import open_store

NOW = datetime(2026, 1, 1, tzinfo=UTC)

_SUBMIT = """
import asyncio, sys
from datetime import UTC, datetime
from shoal.kernel.task import Task
from shoal.store import open_store
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
NOW = datetime(2026, 1, 1, tzinfo=UTC)

async def main():
    store = open_store(url)
    await store.open()
    async def submit(lane):
        for place in range(count):
            task = Task(task_id=f"{name}-{lane}-{place}", name=name, created_at=NOW)
            (task_id,) = await store.tasks.enqueue([task], now=NOW, max_pending=None)
            print(task_id, flush=True)
    await asyncio.gather(*(submit(lane) for lane in range(8)))
    await store.close()

asyncio.run(main())
"""


def start(url: str, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _SUBMIT, url, name, str(count)], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shoal.db"
    writers = [start(url, name, 40) for name in ("a", "b")]
    told = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [len(ids) for ids in told] == [320, 320]

    async def main() -> None:
        store = open_store(url)
        await store.open()
        assert set(await store.tasks.find([*told[0], *told[1]])) == {*told[0], *told[1]}
        assert store.tasks.counts()["pending"] == 640
        ids = [event.event_id for event in store.events.scan(EventFilter(event_type="task_enqueued"))]
        assert ids == sorted(set(ids)) and len(ids) == 640
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("acknowledged", [1, 60, 200])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, acknowledged: int) -> None:
    url = f"sqlite:///{tmp_path}/shoal.db"
    kept: list[str] = []
    for turn in range(3):
        writer = start(url, f"turn{turn}", 100_000)
        assert writer.stdout is not None
        kept += [writer.stdout.readline().strip() for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        # The last line may be cut off by the kill.
        kept += [line.strip() for line in writer.stdout if line.endswith("\n")]
        writer.stdout.close()
        writer.wait(timeout=10)

    async def main() -> None:
        store = open_store(url)
        await store.open()
        assert set(await store.tasks.find(kept)) == set(kept)
        counts = store.tasks.counts()
        enqueued = sum(1 for _ in store.events.scan(EventFilter(event_type="task_enqueued")))
        assert len(kept) <= counts["pending"] == counts["ready"] == enqueued
        await store.close()

    asyncio.run(main())


def test_two_stores_on_one_file_give_each_task_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shoal.db"
    subprocess.run([sys.executable, "-c", _SUBMIT, url, "t", "25"], check=True, stdout=subprocess.DEVNULL, timeout=60)

    async def work(node_id: str) -> list[str]:
        store = open_store(url)
        await store.open()
        node = Node(
            node_id=node_id,
            runtime_id="r",
            name=node_id,
            host="h",
            pid=1,
            pid_started=1,
            started_at=NOW,
            lease_until=NOW + timedelta(hours=1),
        )
        await store.leases.join(node, now=NOW)
        done = []
        while given := await store.tasks.claim(node_id, Room([Slot(agent_id="a", targets=("",), free=3)]), now=NOW):
            for each in given:
                fence = Fence(each.task.task_id, node_id, each.task.attempt)
                settlement = Settlement(fence=fence, agent_id="a", outcome=Outcome.COMPLETED)
                assert (await store.tasks.settle(settlement, now=NOW)).applied
                done.append(each.task.task_id)
        await store.close()
        return done

    async def main() -> None:
        lists = await asyncio.gather(*(work(f"n{place}") for place in range(4)))
        done = [task_id for each in lists for task_id in each]
        assert len(done) == len(set(done)) == 200

    asyncio.run(main())
