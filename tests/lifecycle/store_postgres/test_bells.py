"""Bells that ring with commits: what is told, when, and to whom."""

from __future__ import annotations

import asyncio
import logging

import asyncpg
import pytest

from shoal.bus import open_bus
from shoal.bus.postgres import PostgresBus
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Bell, Outcome, Settlement, Wire
from shoal.store.postgres.store import PostgresStore
from shoal.testing.receivers import until
from shoal.testing.store_queue_frame import NOW, claim, fence, new, node
from tests.lifecycle.store_postgres.test_cuts import until_ready


def test_a_bell_rings_with_the_commit_of_what_comes_alone(postgres_url: str) -> None:
    async def main() -> None:
        channels = ["bells.one", "bells.other"]
        wire = Wire("me", lambda: channels)
        heard: list[tuple[str, str]] = []
        listener = await asyncpg.connect(postgres_url)
        for channel in channels:
            await listener.add_listener(channel, lambda _, __, channel, said: heard.append((channel, said)))
        store = PostgresStore(postgres_url)
        store.ring_on(wire)
        await store.open()
        await store.leases.join(node("n1"), now=NOW)
        await until_ready(store)

        bell = Bell("tasks")
        (first,) = await store.tasks.enqueue([new()], now=NOW, max_pending=9, bell=bell)
        assert bell.rung
        await until(lambda: heard == [(channel, wire.payload(bell)) for channel in channels])

        heard.clear()
        depends = Bell("tasks")  # more than one statement
        await store.tasks.enqueue([new(dependencies=(first,))], now=NOW, max_pending=None, bell=depends)
        (given,) = await claim(store)
        settlement = Settlement(
            fence=fence(given), agent_id="a1", outcome=Outcome.COMPLETED, name="t", started_at=given.task.started_at
        )
        ended, again = Bell("ended", "promotes another"), Bell("ended", "not applied")
        assert (await store.tasks.settle(settlement, now=NOW, bell=ended)).applied
        assert not (await store.tasks.settle(settlement, now=NOW, bell=again)).applied
        channels.clear()  # nobody else is there
        alone = Bell("tasks")
        await store.tasks.enqueue([new()], now=NOW, max_pending=None, bell=alone)
        assert [each.rung for each in (depends, ended, again, alone)] == [False] * 4
        await listener.execute("SELECT pg_notify('bells.one', 'the last')")
        await until(lambda: heard == [("bells.one", "the last")])
        await listener.close()
        await store.close()

    asyncio.run(main())


def test_a_bus_hears_the_bells_of_others(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        here, there = (open_bus(postgres_url, clock=RealClock()) for _ in range(2))
        assert isinstance(here, PostgresBus) and isinstance(there, PostgresBus)
        hears, says_there = here.wire, there.wire
        assert hears is not None and says_there is not None and hears.channels() == []
        await here.start("here")
        await there.start("there")
        await until(lambda: bool(hears.channels()) and bool(says_there.channels()))
        heard: list[str] = []
        here.hear("tasks", heard.append)
        there.hear("tasks", lambda note: heard.append(f"there: {note}"))
        says = await asyncpg.connect(postgres_url)
        (to_here,) = says_there.channels()
        for said in (
            says_there.payload(Bell("tasks", "one")), hears.payload(Bell("tasks", "its own")), "no bell",
            says_there.payload(Bell("tasks", "two")),
        ):  # fmt: skip
            await says.execute("SELECT pg_notify($1, $2)", to_here, said)
        await until(lambda: "two" in heard)
        assert heard == ["one", "two"]
        await says.execute("SELECT pg_notify('bells.shoal', $1)", Wire("a third", list).payload(Bell("tasks", "all")))
        await until(lambda: sorted(heard) == ["all", "one", "there: all", "two"])
        await says.close()
        await here.stop()
        await there.stop()

    with caplog.at_level(logging.WARNING, "shoal.bus"):
        asyncio.run(main())
    assert "none of Shoal's came in on the channel bells." in caplog.text


def test_others_share_a_channel_when_they_are_many(postgres_url: str) -> None:
    async def main() -> None:
        buses = [open_bus(postgres_url, clock=RealClock()) for _ in range(10)]
        for number, bus in enumerate(buses):
            await bus.start(f"node-{number}")
        wire = buses[0].wire
        assert wire is not None
        await until(lambda: wire.channels() == ["bells.shoal"])
        for bus in buses[:2]:
            await bus.stop()
        last = buses[-1].wire
        assert last is not None
        await until(lambda: len(set(last.channels())) == 7)
        for bus in buses[2:]:
            await bus.stop()

    asyncio.run(main())
