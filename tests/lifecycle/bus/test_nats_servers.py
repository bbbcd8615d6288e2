"""What NATS servers can want: permissions, small payloads; several of them; and what strangers can send there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats
import pytest
from nats.aio.msg import Msg

from shoal.bus import open_bus
from shoal.bus.packets import Beat, Packet, Reset, Rung, read, written
from shoal.cluster import NatsServer
from shoal.errors import BusError, DeadAgentError
from shoal.kernel.clock import RealClock
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere, until
from tests.lifecycle.bus.nodes import links, node
from tests.lifecycle.bus.servers import answered, served


def test_a_server_without_tls_is_refused_when_it_is_wanted(nats_server: NatsServer, run: Callable[..., None]) -> None:
    async def main() -> None:
        with pytest.raises(BusError, match="cannot be reached: it does not speak TLS"):
            await open_bus(nats_server.url.replace("nats://", "tls://"), clock=RealClock()).start("here")

    run(main)


def test_a_user_who_must_not_hear_the_namespace_is_refused(run: Callable[..., None]) -> None:
    permissions = '{ publish: "mine.>", subscribe: "mine.>" }'
    config = f'authorization {{ users: [{{ user: "me", password: "pw", permissions: {permissions} }}] }}'

    async def main() -> None:
        async with served(config) as address:
            await answered(f"nats://me:pw@{address}/mine")
            with pytest.raises(BusError, match=r"refused this node: .*(?i:permissions violation)") as caught:
                await open_bus(f"nats://me:pw@{address}/yours", clock=RealClock()).start("here")
            assert "all subjects that begin with yours." in caught.value.__notes__[0]

    run(main)


def test_the_first_of_several_servers_that_is_there_is_taken(nats_server: NatsServer, run: Callable[..., None]) -> None:
    scheme, _, address = nats_server.url.partition("://")
    token, _, place = address.partition("@")
    run(lambda: answered(f"{scheme}://{token}@127.0.0.1:1,{place}/several"))


def test_a_small_payload_limit_is_kept_and_hinders_nothing(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with (
            served("max_payload: 4096") as address,
            node(f"nats://{address}", "one") as one,
            node(f"nats://{address}", "two") as two,
        ):
            heard: list[str] = []
            two.hear("tasks", heard.append)
            two.attach("echo", Replier(lambda asked: asked.data))
            for number in range(500):  # more than one packet of seats
                two.attach(f"a long name of an address, number {number}", Inbox())
            await attached_everywhere([one], "a long name of an address, number 499")
            text = "x" * 300_000
            assert (await one.request("echo", a_message(text), 10.0)).data == text
            notes = [f"{number} {'y' * 100}" for number in range(300)]
            for note in notes:
                one.ring("tasks", note)
            one.ring("tasks", "z" * 5000)  # a bell too large for a packet is lost, and counted
            await until(lambda: len(heard) == 300)
            assert heard == notes
            assert links(one).counts == {"rings_lost": 1}
            async with node(f"nats://{address}", "three") as three:
                await attached_everywhere([three], "a long name of an address, number 499")

    run(main)


def test_what_strangers_send_harms_nobody(nats_url: str, run: Callable[..., None]) -> None:
    async def main() -> None:
        stranger = await nats.connect(nats_url.rpartition("/")[0])
        space = nats_url.rpartition("/")[2]
        async with node(nats_url, "one") as one, node(nats_url, "two") as two:
            two.attach("echo", Replier(lambda asked: asked.data))
            await attached_everywhere([one], "echo")
            mine, theirs = links(one)._links.session, links(two)._links.session
            sent = [
                b"\x00",
                b"garbage",
                written(Packet("stranger", 1, 0, 0, b"\x00\x00\x00\x01\xff")),
                written(Packet("stranger", 1, 0, 10**18, b"")),
                written(Packet("stranger", 1, 7, 0, b"x")),
                written(Packet("stranger", 1, 0, 0, b"\xff" * 100)),
                written(Reset("stranger", 1)),
                written(Reset(theirs, 999)),
                written(Beat("one", "stranger")),
                written(Rung("stranger", [("tasks", "x")])),
            ]
            for data in sent:
                await stranger.publish(f"{space}.to.{mine}", data)
                await stranger.publish(f"{space}.all", data)
            await stranger.flush()
            await until(lambda: links(one).counts["refused"] == 4)
            assert (await one.request("echo", a_message(1), 5.0)).data == 1
            assert links(one).connections["two"].session == theirs
        await stranger.close()

    run(main)


@pytest.mark.parametrize("skipped", [-1, 3])
def test_a_gap_or_a_double_begins_the_link_anew(nats_url: str, skipped: int, run: Callable[..., None]) -> None:
    """Whatever was lost or doubled on the way: both sides learn of it, and no question stays open."""

    async def main() -> None:
        stranger = await nats.connect(nats_url.rpartition("/")[0])
        space = nats_url.rpartition("/")[2]
        async with node(nats_url, "one") as one, node(nats_url, "two") as two:
            caught: list[Msg] = []

            async def catch(message: Msg) -> None:
                caught.append(message)

            await stranger.subscribe(f"{space}.to.{links(two)._links.session}", cb=catch)
            await stranger.flush()
            two.attach("echo", Replier(lambda asked: asked.data))
            two.attach("silent", Inbox())
            await attached_everywhere([one], "silent")
            await one.request("echo", a_message(1), 5.0)
            asking = asyncio.ensure_future(one.request("silent", a_message(), None))
            await until(lambda: caught)
            last = read(caught[-1].data)
            assert isinstance(last, Packet)
            other = Packet(last.session, last.link, last.number + 1 + skipped, last.seen, b"")
            await stranger.publish(caught[-1].subject, written(other))
            with pytest.raises(DeadAgentError) as told:
                await asyncio.wait_for(asking, 2.0)
            assert told.value.reason == "node_lost"
            await until(lambda: one.has("echo"))
            assert (await one.request("echo", a_message(2), 5.0)).data == 2
            assert links(two).counts["links_broken"] == 1
            assert links(one).counts["links_reset"] == 1
        await stranger.close()

    run(main)
