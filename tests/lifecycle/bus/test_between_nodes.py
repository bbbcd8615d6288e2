"""Nodes as processes on a real server: deaths, freezes, order, size, namespaces."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Callable

import pytest

from shoal.bus import open_bus
from shoal.errors import DeadAgentError, MailboxFullError
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere, until
from tests.lifecycle.bus.nodes import links, node, process

_numbers = itertools.count(1)


@pytest.fixture(params=["nats", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "nats":
        return str(request.getfixturevalue("nats_url"))
    return f"{request.getfixturevalue('postgres_server').url}?schema=nodes_{next(_numbers)}"


def test_kill_9_ends_open_requests_within_a_second(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with node(url, "here") as bus, process(url, "there") as child, process(url, "third"):
            await attached_everywhere([bus], "silent-there")
            asking = [asyncio.ensure_future(bus.request("silent-there", a_message(), None)) for _ in range(3)]
            assert (await bus.request("echo-there", a_message([1]), 5.0)).data == [1]
            began = time.monotonic()
            child.send_signal(signal.SIGKILL)
            for each in asking:
                with pytest.raises(DeadAgentError) as caught:
                    await asyncio.wait_for(each, 1.0)
                assert caught.value.reason == "node_lost"
                assert caught.value.agent_id == "silent-there"
            assert time.monotonic() - began < 1.0
            assert not bus.has("silent-there")
            await attached_everywhere([bus], "echo-third")
            assert (await bus.request("echo-third", a_message(2), 5.0)).data == 2

    run(main)


def test_a_node_that_begins_anew_under_its_id_is_reached(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with node(url, "here") as bus:
            for _ in range(2):
                async with process(url, "there"):
                    await attached_everywhere([bus], "echo-there")
                    await until(lambda: list(links(bus).connections) == ["there"])
                    answer = await bus.request("echo-there", a_message(1), 5.0)
                    assert answer.data == 1

    run(main)


def test_no_question_waits_for_the_next_heartbeat(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with node(url, "here") as bus, process(url, "there"):
            await attached_everywhere([bus], "echo-there")
            began = time.monotonic()
            for number in range(100):
                await bus.request("echo-there", a_message(number), 5.0)
            assert time.monotonic() - began < 5.0  # half the time between two heartbeats, a hundred times, is 12 s

    run(main)


def test_what_is_attached_while_a_node_connects_is_told(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with node(url, "here") as bus:
            other = open_bus(url, clock=RealClock())
            starting = asyncio.ensure_future(other.start("there"))
            count = 0
            while not starting.done():
                other.attach(f"a{count}", Inbox())
                count += 1
                await asyncio.sleep(0)
            await starting
            for number in range(count):
                await attached_everywhere([bus], f"a{number}")
            await other.stop()
            await until(lambda: not bus.has("a0"))

    run(main)


def test_ten_thousand_messages_come_in_order(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        inbox = Inbox()
        async with node(url, "here") as bus, process(url, "there", "say"):
            bus.attach("inbox", inbox)
            await until(lambda: len(inbox.taken) == 10_000, 60.0)
        assert inbox.data == list(range(10_000))

    run(main)


def test_ten_megabytes_go_and_come(url: str, run: Callable[..., None]) -> None:
    text = "ü" * (5 * 1024 * 1024)

    async def main() -> None:
        async with node(url, "here") as bus, process(url, "there"):
            await attached_everywhere([bus], "size-there")
            for number in range(3):
                answer = await bus.request("echo-there", a_message([text, number]), 30.0)
                assert answer.data == [text, number]
            assert (await bus.request("size-there", a_message(text), 30.0)).data == len(text)
            assert links(bus).counts["links_broken"] == 0

    run(main)


def test_a_frozen_node_neither_blocks_nor_fills_memory(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with node(url, "here") as bus, process(url, "there") as child, process(url, "third"):
            await attached_everywhere([bus], "silent-there")
            await attached_everywhere([bus], "echo-third")
            child.send_signal(signal.SIGSTOP)
            asking = asyncio.ensure_future(bus.request("echo-there", a_message(), None))
            block = a_message("x" * 1_000_000)
            sends = [asyncio.ensure_future(bus.send("silent-there", block)) for _ in range(40)]
            await until(lambda: any(each.done() for each in sends))
            with pytest.raises(MailboxFullError):
                await bus.send("silent-there", block)
            assert links(bus).connections["there"].behind() < 12 * 1024 * 1024
            assert (await bus.request("echo-third", a_message(3), 5.0)).data == 3  # the others are not held up
            with pytest.raises(DeadAgentError) as caught:
                await asyncio.wait_for(asking, 15.0)
            assert caught.value.reason == "node_lost"
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert all(isinstance(each, MailboxFullError | DeadAgentError) for each in results)
            child.send_signal(signal.SIGCONT)
            await until(lambda: bus.has("echo-there"))
            assert (await bus.request("echo-there", a_message(1), 5.0)).data == 1

    run(main)


def test_a_node_with_a_blocked_loop_is_not_lost(url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        async with process(url, "there"), node(url, "here") as bus:
            await attached_everywhere([bus], "block-there")
            await bus.request("block-there", a_message(2.0), 5.0)
            time.sleep(2.0)
            assert (await bus.request("echo-there", a_message(1), 5.0)).data == 1
            assert not any(links(bus).counts.values())

    run(main)


def test_namespaces_on_one_server_do_not_hear_each_other(
    nats_url: str, postgres_url: str, run: Callable[..., None]
) -> None:
    async def apart(one: str, two: str) -> None:
        heard: list[str] = []
        async with node(one, "here") as bus, node(two, "there") as other, node(one, "third") as beside:
            other.hear("tasks", heard.append)
            other.attach("a", Replier(lambda asked: "wrong"))
            other.subscribe("a", "news")
            beside.attach("b", Replier(lambda asked: "right"))
            beside.subscribe("b", "news")
            rung: list[str] = []
            beside.hear("tasks", rung.append)
            await attached_everywhere([bus], "b")
            bus.ring("tasks", "x")
            await until(lambda: rung == ["x"])
            assert await bus.publish("news", a_message(topic="news")) == 1
            assert not bus.has("a")
            assert list(links(bus).connections) == ["third"]
            assert list(links(other).connections) == []
            assert heard == []

    async def main() -> None:
        await apart(nats_url, f"{nats_url}2")
        await apart(f"{postgres_url}?schema=one", f"{postgres_url}?schema=two")

    run(main)
