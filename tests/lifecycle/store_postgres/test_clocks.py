"""Nodes whose wall clocks are minutes wrong, on one PostgreSQL: times are judged by the server's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shoal import LockManager, LockTimeoutError
from shoal.errors import RunActiveError
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Lease, Store
from shoal.kernel.run import RunStatus
from shoal.store import open_store
from shoal.testing.store_frame import join, message, start
from shoal.testing.store_queue_frame import node
from shoal.testing.store_run_frame import begin, done, hold_of, write
from tests.support.clocks import WrongClock

Run = Callable[..., Any]
WRONG = 600.0
APART = [(-WRONG, WRONG), (WRONG, -WRONG), (0.0, WRONG), (0.0, -WRONG)]
SOON = timedelta(seconds=30)


@asynccontextmanager
async def opened(url: str, *clocks: WrongClock) -> AsyncIterator[list[Store]]:
    """Open the store once for each node."""
    stores = [open_store(url, clock=clock) for clock in clocks]
    for store in stores:
        await store.open()
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


def mail(store: Store, ttl: float, number: int = 1) -> AgentMessage:
    """Return a durable message of now that may wait for *ttl* seconds."""
    expires_at = store.clock.now() + timedelta(seconds=ttl)
    return msgspec.structs.replace(message(number), durable=True, expires_at=expires_at)


async def take(store: Store, owner: str, ttl: float = 30.0) -> Lease | None:
    """Try to take the one name, by the clock of the store."""
    now = store.clock.now()
    return await store.leases.acquire("lock:x", owner, now=now, until=now + timedelta(seconds=ttl))


def left(store: Store, lease: Lease) -> float:
    """Return for how many seconds a lease lasts."""
    return (lease.until - store.clock.now()).total_seconds()


@pytest.mark.parametrize("apart", APART)
def test_what_one_node_holds_another_does_not_take(postgres_url: str, run: Run, apart: tuple[float, float]) -> None:
    async def main() -> None:
        async with opened(postgres_url, *map(WrongClock, apart)) as (one, two):
            assert abs(one.clock.now() - two.clock.now()) < timedelta(seconds=5)
            held = await take(one, "a")
            assert held is not None and await take(two, "b") is None
            standing = two.leases.standing("lock:x", "b", now=two.clock.now())
            assert standing.held == held and 20 < left(two, held) <= 30
            now = one.clock.now()
            held = await one.leases.renew(held, now=now, until=now + 2 * SOON)
            assert await take(two, "b") is None and 50 < left(two, held) <= 60
            assert await one.leases.release(held, now=one.clock.now())
            given = await take(two, "b")
            assert given is not None and given.token == held.token + 1
            assert await take(one, "a") is None

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_a_lease_ends_when_its_time_is_over(postgres_url: str, run: Run, apart: tuple[float, float]) -> None:
    async def main() -> None:
        async with opened(postgres_url, *map(WrongClock, apart)) as (one, two):
            began = one.clock.monotonic()
            assert await take(one, "a", ttl=1.0) is not None
            given = None
            while given is None:
                given = await take(two, "b")
            assert 0.9 < two.clock.monotonic() - began < 5.0 and given.token == 2

    run(main)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_nothing_is_taken_by_a_clock_that_was_set_a_moment_ago(postgres_url: str, run: Run, step: float) -> None:
    async def main() -> None:
        clock = WrongClock(0.0)
        async with opened(postgres_url, WrongClock(0.0), clock) as (one, two):
            await join(one, "n1")
            agent_id = await start(one, "idle")
            await one.mail.put([agent_id], mail(one, 60), now=one.clock.now())
            held = await take(one, "a")
            clock.ahead = step
            assert await take(two, "b") is None and held is not None
            clock.ahead = 0.0
            assert await two.leases.withdraw("lock:x", "b", now=two.clock.now()) is False
            clock.ahead = step
            assert await two.mail.expire(now=two.clock.now()) == 0
            clock.ahead = 0.0
            assert await one.leases.release(held, now=one.clock.now())
            clock.ahead = step
            given = await take(two, "b")
            assert given is not None and 20 < left(two, given) <= 30 and await take(one, "a") is None

    run(main)


def test_locks_on_an_open_store(postgres_url: str, run: Run) -> None:
    async def main() -> None:
        async with opened(postgres_url, WrongClock(-WRONG), WrongClock(WRONG)) as stores:
            for one, two in (stores, stores[::-1]):
                async with LockManager(one).lock("race", "k", 5, ttl=20) as lock:
                    with pytest.raises(LockTimeoutError):
                        await LockManager(two).lock("race", "k", 0.2).acquire()
                    assert lock.token

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_mail_lives_as_long_as_its_sender_said(postgres_url: str, run: Run, apart: tuple[float, float]) -> None:
    async def main() -> None:
        async with opened(postgres_url, *map(WrongClock, apart)) as (one, two):
            await join(one, "n1")
            await join(two, "n2")
            agent_id = await start(one, "taker", node="n2")
            fresh = mail(one, 60, 1)
            await one.mail.put([agent_id], fresh, now=one.clock.now())
            await one.mail.put([agent_id], mail(one, 0.05, 2), now=one.clock.now())
            while await two.mail.expire(now=two.clock.now()) == 0:
                await asyncio.sleep(0.02)
            await one.mail.put([agent_id], mail(one, 0.05, 3), now=one.clock.now())
            await asyncio.sleep(0.2)
            (taken,) = await two.mail.take(agent_id, "n2", now=two.clock.now(), limit=10)
            assert taken.data == 1 and taken.expires_at is not None
            assert 30 < (taken.expires_at - two.clock.now()).total_seconds() <= 60
            assert [(letter.reason, letter.message.data) for letter in two.mail.dead_letters()] == [
                ("expired", 3),
                ("expired", 2),
            ]

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_a_shared_value_is_there_as_long_as_its_writer_said(
    postgres_url: str, run: Run, apart: tuple[float, float]
) -> None:
    async def main() -> None:
        async with opened(postgres_url, *map(WrongClock, apart)) as (one, two):
            await one.kv.set("k", 1, now=one.clock.now(), expires_at=one.clock.now() + SOON)
            await one.kv.set("gone", 1, now=one.clock.now(), expires_at=one.clock.now() + timedelta(seconds=0.05))
            assert two.kv.get("k", now=two.clock.now()) is not None
            await asyncio.sleep(0.2)
            assert list(two.kv.keys("", now=two.clock.now())) == ["k"]

    run(main)


@pytest.mark.parametrize("verb", ["begin", "delete", "ask_cancel"])
def test_a_run_of_a_living_node_is_not_taken_by_a_clock_that_was_set_forward(
    postgres_url: str, run: Run, verb: str
) -> None:
    async def main() -> None:
        clock = WrongClock(0.0)
        async with opened(postgres_url, WrongClock(0.0), clock) as (one, two):
            for store, node_id in ((one, "n1"), (two, "n2")):
                now = store.clock.now()
                living = msgspec.structs.replace(node(node_id), started_at=now, lease_until=now + SOON)
                await store.leases.join(living, now=now)
            held = await hold_of(one, "r", "n1", now=one.clock.now())
            clock.ahead = 3600.0
            if verb == "begin":
                with pytest.raises(RunActiveError, match="n1"):
                    await begin(two, "r", "n2", now=two.clock.now())
            elif verb == "delete":
                with pytest.raises(RunActiveError, match="n1"):
                    await two.runs.delete("r", now=two.clock.now())
            else:
                asked = await two.runs.ask_cancel("r", "enough", now=two.clock.now())
                assert asked.status is RunStatus.RUNNING and await one.runs.cancel_asked("r") == "enough"
            await write(one, held, done("a"), now=one.clock.now())

    run(main)
