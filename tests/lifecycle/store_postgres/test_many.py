"""What a verb says to the server does not grow with what it is about: each word costs the way there and back, while other
nodes wait, and after nine seconds the server undoes it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shoal.kernel.agent import AgentVerb
from shoal.kernel.message import DeadLetter
from shoal.kernel.ports import RunEnd, Store
from shoal.kernel.room import Room, Slot
from shoal.kernel.run import RunStatus
from shoal.store.postgres import connection
from shoal.store.postgres.connection import Link
from shoal.store.postgres.store import PostgresStore
from shoal.store.sql import group
from shoal.store.sql.transaction import Reader, Transaction
from shoal.testing.store_frame import T0, agent, at, change, join, message, start
from shoal.testing.store_queue_frame import NOW, after, new, node, submit
from shoal.testing.store_run_frame import hold_of

Work = Callable[[], Awaitable[Any]]

_OLD_MAIL = """INSERT INTO mail (recipient_id, message_id, message, durable, expires_at)
    SELECT 'r', 'old' || n, (SELECT message FROM mail LIMIT 1), 1, 1 FROM generate_series(1, ?) AS n"""


async def _expired(store: Store, number: int) -> Work:
    await store.mail.put(["r"], message(durable=True, ttl=1), now=T0)
    await store.database.write(Transaction.execute, _OLD_MAIL, (number,))  # type: ignore[attr-defined]
    return lambda: store.mail.expire(now=at(2))


async def _taken(store: Store, number: int) -> Work:
    await _expired(store, number)
    await join(store, "n1")
    return lambda: store.mail.take("r", "n1", now=at(2), limit=5)


async def _unregistered(store: Store, number: int) -> Work:
    known = await store.agents.register(agent("worker"), now=T0)
    for n in range(number):
        await store.mail.put([known.agent_id], message(n), now=T0)
    await submit(store, *(new(f"t{n}", agent=known.agent_id) for n in range(number)))
    return lambda: store.agents.unregister(known.agent_id, now=at(1))


async def _cancelled(store: Store, number: int) -> Work:
    parent = new("parent")
    children = [new(f"t{n}", parent_id=parent.task_id) for n in range(number)]
    after_one = [new("then", parent_id=parent.task_id, dependencies=(task.task_id,)) for task in children]
    await submit(store, parent, *children, *after_one)
    return lambda: store.tasks.cancel(parent.task_id, None, now=at(1))


async def _keyed(store: Store, number: int) -> Work:
    return lambda: submit(store, *(new(f"t{n}", idempotency_key=f"k{n}") for n in range(number)))


async def _waiting(store: Store, number: int) -> Work:
    first = [new(f"t{n}") for n in range(number)]
    await submit(store, *first)
    return lambda: submit(store, *(new("then", dependencies=(task.task_id,)) for task in first))


async def _posted(store: Store, number: int) -> Work:
    return lambda: store.mail.put([f"r{n}" for n in range(number)], message(ttl=60), now=T0)


async def _paused(store: Store, number: int) -> Work:
    await join(store, "n1")
    agent_id = await start(store, "busy")
    waiting = tuple(message(n, durable=n % 2 == 0) for n in range(number))
    for each in waiting[::2]:
        await store.mail.put([agent_id], each, now=T0)
    await store.mail.take(agent_id, "n1", now=T0, limit=number)
    return lambda: store.agents.advance(change(agent_id, AgentVerb.PAUSE, state={}, mail=waiting), now=T0)


async def _buried(store: Store, number: int) -> Work:
    letters = [DeadLetter(message=message(n), recipient_id="r", reason="stopped", at=T0) for n in range(number)]
    return lambda: store.mail.bury(letters, now=T0)


async def _searched(store: Store, number: int) -> Work:
    for n in range(number):
        await store.agents.register(agent(f"a{n}", capabilities=("x", "y"), groups=("g",)), now=T0)

    async def search() -> None:
        assert len(store.agents.search()) == number

    return search


async def _at_work(store: Store, number: int) -> None:
    """Have a node with so many agents, each of them at a task."""
    await store.leases.join(node("n1"), now=NOW)
    agents = [await start(store, f"a{n}", now=NOW) for n in range(number)]
    await submit(store, *(new(f"t{n}") for n in range(number)))
    room = Room(Slot(agent_id=agent_id, targets=("",)) for agent_id in agents)
    assert len(await store.tasks.claim("n1", room, now=NOW)) == number


async def _lost(store: Store, number: int) -> Work:
    await _at_work(store, number)
    return lambda: store.leases.rescue(["n1"], now=after(1), max_interruptions=3)


async def _left(store: Store, number: int) -> Work:
    await _at_work(store, number)
    return lambda: store.leases.leave("n1", now=after(1))


async def _pruned(store: Store, number: int) -> Work:
    await store.leases.join(node("n1"), now=NOW)
    for n in range(number):
        await store.runs.end(await hold_of(store, f"run{n}"), RunEnd(status=RunStatus.COMPLETED), now=NOW)
    return lambda: store.prune(after(1), limit=1000)


@pytest.mark.parametrize(
    "prepare",
    [
        _expired,
        _taken,
        _unregistered,
        _cancelled,
        _keyed,
        _waiting,
        _posted,
        _searched,
        _paused,
        _buried,
        _lost,
        _left,
        _pruned,
    ],
    ids=lambda f: f.__name__,
)
def test_what_is_said_does_not_grow(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Store, int], Awaitable[Work]]
) -> None:
    said = 0
    wait = Link.wait

    def counted(link: Link, answer: Awaitable[Any]) -> Any:
        nonlocal said
        said += 1
        return wait(link, answer)

    async def words(number: int) -> int:
        store = PostgresStore(f"{postgres_url}?schema=of_{number}")
        await store.open()
        try:
            work = await prepare(store, number)
            before = said
            await work()
            return said - before
        finally:
            await store.close()

    monkeypatch.setattr(Link, "wait", counted)
    few, many = asyncio.run(words(3)), asyncio.run(words(100))
    assert many <= few + 5, "a few rows go with the commit, many before it"


def test_mail_that_is_over_is_given_up_in_pieces(postgres_url: str) -> None:
    """However much of it there is, nobody waits for all, and it keeps nobody from the mail behind it."""

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        await join(store, "n1")
        await (await _expired(store, 2500))()
        await store.mail.put(["r"], message("fresh", ttl=60), now=T0)
        assert [each.data for each in await store.mail.take("r", "n1", now=at(2), limit=5)] == ["fresh"]
        assert [await store.mail.expire(now=at(2)) for _ in range(2)] == [501, 0]
        assert len(store.mail.dead_letters(5000)) == 2501
        await store.close()

    asyncio.run(main())


def test_a_group_that_would_take_too_long_is_written_in_parts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a transaction that lasts; a burst of verbs that are slow from afar would be refused as a whole."""
    monkeypatch.setattr(connection, "_BOUNDED", "SET transaction_timeout = '1s'")
    monkeypatch.setattr(group, "_LONG_SECONDS", 0.3)

    def slow(cx: Transaction, key: str) -> None:
        cx.execute("INSERT INTO meta (key, value) VALUES (?, 'x')", (key,))
        cx.rows("SELECT CAST(pg_sleep(0.05) AS text)")

    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()
        keys = [f"k{n:02}" for n in range(30)]
        await asyncio.gather(*(store.database.write(slow, key) for key in keys))
        found = store.database.read(Reader.rows, "SELECT key FROM meta WHERE key LIKE 'k%' ORDER BY key")
        assert [key for (key,) in found] == keys
        await store.close()

    asyncio.run(main())
