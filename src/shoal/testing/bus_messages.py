"""What a bus promises of messages and addresses."""

from __future__ import annotations

import asyncio

import pytest

from shoal.errors import (
    DeadAgentError,
    MailboxFullError,
    RuntimeStateError,
)
from shoal.kernel.clock import RealClock
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Bus
from shoal.testing.bus_contract import Body
from shoal.testing.receivers import Inbox, Replier, SlowInbox, a_message, attached_everywhere

__all__ = ["MessagesContract"]

_clock = RealClock()


class MessagesContract:
    """Messages come as they were sent, in order, or their sender hears why not."""

    def check(self, count: int, body: Body) -> None:
        """Run *body* with the bus that asks and the bus that answers."""
        raise NotImplementedError

    @pytest.mark.parametrize("count", [1, 2])
    def test_messages_arrive_in_order_per_pair(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here, there], "a")

            async def say(sender: str) -> None:
                for number in range(200):
                    await here.send("a", a_message([sender, number], sender=sender))

            await asyncio.gather(*(say(f"s{n}") for n in range(5)))
            for n in range(5):
                assert [d[1] for d in inbox.data if isinstance(d, list) and d[0] == f"s{n}"] == list(range(200))
            assert len(inbox.taken) == 1000

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_message_arrives_as_it_was_sent(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            sent = AgentMessage(
                message_id="m",
                sender_id="s",
                sender_name="S",
                recipient_ids=("a",),
                message_type="note",
                data={"n": 2**64 - 1, "f": -0.5, "t": "ü\n", "l": [None, True, {"x": []}]},
                timestamp=_clock.now(),
                correlation_id="c",
                expires_at=_clock.now(),
                chain=("i1", "i2"),
            )
            await here.send("a", sent)
            assert inbox.taken == [sent]

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_ten_megabytes_go_and_come(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            text = "ü" * (5 * 1024 * 1024)
            inbox = Inbox()
            there.attach("echo", Replier(lambda asked: asked.data))
            there.attach("inbox", inbox)
            there.subscribe("inbox", "news")
            await attached_everywhere([here], "inbox")
            assert (await here.request("echo", a_message(text), 30.0)).data == text
            await here.send("inbox", a_message([1, text]))
            assert await here.publish("news", a_message([2, text], topic="news")) == 1
            assert inbox.data == [[1, text], [2, text]]

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_send_waits_for_a_receiver_that_needs_time(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = SlowInbox(size=2)
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            await here.send("a", a_message(1))
            assert inbox.data == [1]
            await here.send("a", a_message(2))
            with pytest.raises(MailboxFullError):
                await here.send("a", a_message(3))

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_full_mailbox_is_told_to_the_sender(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            there.attach("a", Inbox(size=1))
            await attached_everywhere([here], "a")
            await here.send("a", a_message())
            with pytest.raises(MailboxFullError) as caught:
                await here.send("a", a_message())
            assert caught.value.recipients == ("inbox",)
            assert caught.value.max_size == 1

        self.check(count, body)

    def test_bad_input_is_refused(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            here.attach("a", Inbox())
            with pytest.raises(RuntimeStateError, match="'a' is attached already"):
                here.attach("a", Inbox())
            with pytest.raises(ValueError, match="topic must be words"):
                here.subscribe("a", "a..b")
            with pytest.raises(DeadAgentError):
                here.subscribe("ghost", "news")
            with pytest.raises(ValueError, match="topic must be words"):
                await here.publish("news.*", a_message())
            here.detach("ghost")
            here.unsubscribe("ghost", "news")

        self.check(1, body)

    def test_local_gives_the_receiver_of_this_node_only(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            assert there.local("a") is inbox
            assert here.local("a") is None

        self.check(2, body)

    def test_after_stop_nothing_is_there_and_nothing_raises(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            here.attach("a", Inbox())
            await here.stop()
            await here.stop()
            here.ring("tasks")
            here.detach("a")
            assert not here.has("a")
            with pytest.raises(DeadAgentError):
                await here.send("a", a_message())

        self.check(1, body)
