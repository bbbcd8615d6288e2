"""A node that is stopped inside a transaction holds the others for a few seconds at most, and is done no harm."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from shoal.store import open_store
from shoal.store.postgres.address import address_of
from shoal.store.postgres.connection import connect
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.store import PostgresStore
from shoal.testing.store_queue_frame import NOW, new, node, submit
from tests.support.runtimes import running

HELD_SECONDS = 10.0
LEASE = 0.6


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
            await asyncio.gather(submit(store, replace(new("of-n1"), task_id="first")), store.kv.set("key", 1, now=NOW))
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


def test_a_node_stopped_in_the_midst_of_a_command(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        link = await asyncio.to_thread(connect, address_of(postgres_url), writes=True)
        driver = PostgresDriver(link, store.database._key)
        await asyncio.to_thread(driver.begin)
        half = b"\0SELECT 1\0\0\0"
        link.connection._transport.write(b"P" + (len(half) + 4).to_bytes(4, "big") + half + b"H\0\0\0\4")
        begun = time.monotonic()
        await submit(store, new("of-n1"))
        assert time.monotonic() - begun < HELD_SECONDS
        await store.close()
        await asyncio.to_thread(link.drop)

    asyncio.run(main())


def test_a_heartbeat_waits_for_nobody(postgres_url: str) -> None:
    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        link = await asyncio.to_thread(connect, address_of(postgres_url), writes=True)
        driver = PostgresDriver(link, PostgresStore(postgres_url).database._key)
        await asyncio.to_thread(driver.begin)
        waits = asyncio.ensure_future(store.kv.set("key", 1, now=NOW))
        until = NOW + timedelta(seconds=60)
        assert await asyncio.to_thread(store.leases.heartbeat, "n1", until=until, load=0.0, agents=0)
        assert [each.lease_until for each in store.leases.nodes()] == [until]
        assert not waits.done()
        await asyncio.to_thread(driver.rollback)
        await waits
        await asyncio.to_thread(link.drop)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("known", ["dead", "silent", "over"])
def test_a_heartbeat_that_comes_between_look_and_rescue(postgres_url: str, known: str) -> None:
    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        (joined,) = store.leases.nodes()
        link = await asyncio.to_thread(connect, address_of(postgres_url), writes=True)
        beat = PostgresDriver(link)
        await asyncio.to_thread(beat.script, "BEGIN; UPDATE nodes SET lease_until = lease_until + 60000000")
        late = joined.lease_until + timedelta(seconds=1)
        dead = ["n1"] if known == "dead" else []
        silent = {"n1": joined.lease_until} if known == "silent" else {}
        rescue = asyncio.ensure_future(store.leases.rescue(dead, now=late, max_interruptions=3, silent=silent))
        await asyncio.to_thread(_until_it_waits, beat, "UPDATE nodes SET lost%")
        await asyncio.to_thread(beat.script, "COMMIT")
        assert (await rescue).nodes == (("n1",) if dead else ())
        assert [each.lost for each in store.leases.nodes()] == [bool(dead)]
        await asyncio.to_thread(link.drop)
        await store.close()

    asyncio.run(main())


def test_a_node_judged_by_its_silence_renews_before_the_rescue(postgres_url: str) -> None:
    async def main() -> None:
        other = open_store(postgres_url)
        await other.open()
        async with running(postgres_url, {}, lease_seconds=LEASE) as runtime:
            link = await asyncio.to_thread(connect, address_of(postgres_url), writes=True)
            frozen = PostgresDriver(link, PostgresStore(postgres_url).database._key)
            now = runtime.services.node.env.clock.now()
            ahead = replace(node("ahead"), started_at=now, lease_until=now + timedelta(seconds=60))
            await other.leases.join(ahead, now=now)
            await asyncio.to_thread(frozen.begin)
            await asyncio.to_thread(_until_it_waits, frozen, "%pg_advisory_xact_lock(%")
            until = ahead.lease_until + timedelta(seconds=1)
            assert await asyncio.to_thread(other.leases.heartbeat, "ahead", until=until, load=0.0, agents=0)
            await asyncio.to_thread(frozen.rollback)
            await runtime.store.kv.set("written after the rescue", 1, now=now)
            assert [each.name for each in other.leases.nodes() if each.lost] == []
            await asyncio.to_thread(link.drop)
        await other.close()

    asyncio.run(main())


def _until_it_waits(driver: PostgresDriver, statement: str) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE ?"
    while not driver.rows(waiting, (statement,)):
        driver.rows("SELECT pg_stat_clear_snapshot()")
        time.sleep(0.01)
