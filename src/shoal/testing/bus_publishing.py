"""What a bus promises of topics and bells."""

from __future__ import annotations

import time

import pytest

from shoal.kernel.ports import Bus
from shoal.testing.bus_contract import Body
from shoal.testing.receivers import Inbox, SlowInbox, a_message, attached_everywhere, until

__all__ = ["PublishingContract"]


class PublishingContract:
    """Subscribers of the moment get it once; bells wake, once a turn."""

    def check(self, count: int, body: Body) -> None:
        """Run *body* with the bus that asks and the bus that answers."""
        raise NotImplementedError

    @pytest.mark.parametrize("count", [1, 2])
    def test_publish_reaches_the_subscribers_and_counts_them(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            patterns = {
                "exact": "price.eu.gold",
                "star": "price.*.gold",
                "rest": "price.>",
                "all": ">",
                "no": "price.*",
            }
            inboxes = {name: Inbox() for name in patterns}
            for number, (name, pattern) in enumerate(patterns.items()):
                bus = there if number % 2 else here
                bus.attach(name, inboxes[name])
                bus.subscribe(name, pattern)
                bus.subscribe(name, pattern)
            there.attach("marker", Inbox())
            await attached_everywhere([here], "marker")
            assert await here.publish("price.eu.gold", a_message(1, topic="price.eu.gold")) == 4
            assert await here.publish("price.eu", a_message(2, topic="price.eu")) == 3
            assert await here.publish("price", a_message(3, topic="price")) == 1
            assert await here.publish("other.topic", a_message(4, topic="other.topic")) == 1
            assert {name: inbox.data for name, inbox in inboxes.items()} == {
                "exact": [1],
                "star": [1],
                "rest": [1, 2],
                "all": [1, 2, 3, 4],
                "no": [2],
            }

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_publish_does_not_come_back_and_counts_once(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            sender, other = Inbox(), Inbox()
            here.attach("sender", sender)
            here.subscribe("sender", "news")
            there.attach("other", other)
            there.subscribe("other", "news")
            there.subscribe("other", "*")
            there.attach("marker", Inbox())
            await attached_everywhere([here], "marker")
            assert await here.publish("news", a_message(1, sender="sender", topic="news")) == 1
            assert sender.taken == []
            assert other.data == [1]
            there.unsubscribe("other", "*")
            there.unsubscribe("other", "never")
            assert await here.publish("news", a_message(2, sender="sender", topic="news")) == 1
            assert other.data == [1, 2]

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_publish_skips_a_full_mailbox(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            for name, inbox in {"full": Inbox(size=0), "free": Inbox(), "slow": SlowInbox(size=1)}.items():
                there.attach(name, inbox)
                there.subscribe(name, "news")
            there.attach("marker", Inbox())
            await attached_everywhere([here], "marker")
            assert await here.publish("news", a_message(topic="news")) == 2
            assert await here.publish("news", a_message(topic="news")) == 1

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_subscriptions_end_with_detach(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            there.attach("a", Inbox())
            there.subscribe("a", "news")
            there.attach("marker", Inbox())
            await attached_everywhere([here], "marker")
            assert await here.publish("news", a_message(topic="news")) == 1
            there.detach("a")
            await until(lambda: not here.has("a"))
            there.attach("a", Inbox())
            await attached_everywhere([here], "a")
            assert await here.publish("news", a_message(topic="news")) == 0

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_bell_wakes_every_hearer_once_a_turn(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            heard: dict[str, list[str]] = {"here": [], "there": [], "other": []}
            undo = here.hear("tasks", heard["here"].append)
            there.hear("tasks", heard["there"].append)
            there.hear("mail", heard["other"].append)
            for _ in range(10):
                here.ring("tasks", "x")
            here.ring("tasks", "y")
            assert heard["here"] == []  # never inside the caller
            await until(lambda: heard["there"] == ["x", "y"] and heard["here"] == ["x", "y"])
            undo()
            undo()
            here.ring("tasks")
            await until(lambda: heard["there"] == ["x", "y", ""])
            assert heard["here"] == ["x", "y"]
            assert heard["other"] == []

        self.check(count, body)

    def test_a_bell_that_rings_elsewhere_is_not_heard_here(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            near: list[str] = []
            far: list[str] = []
            here.hear("tasks", near.append)
            there.hear("tasks", far.append)
            here.ring("tasks", "for others", here=False)
            here.ring("tasks", "for all")
            here.ring("tasks", "for all", here=False)
            await until(lambda: sorted(far) == ["for all", "for others"])
            assert near == ["for all"]

        self.check(2, body)

    def test_a_hearer_that_raises_does_not_harm_the_others(self, caplog: pytest.LogCaptureFixture) -> None:
        async def body(here: Bus, there: Bus) -> None:
            heard: list[str] = []

            def broken(note: str) -> None:
                raise LookupError("broken hearer")

            here.hear("tasks", broken)
            here.hear("tasks", heard.append)
            here.ring("tasks", "x")
            await until(lambda: heard == ["x"])

        self.check(1, body)
        assert "broken hearer" in caplog.text

    def test_a_ring_right_before_stop_is_heard(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            heard: list[str] = []
            there.hear("tasks", heard.append)
            here.ring("tasks", "last")
            began = time.monotonic()
            await here.stop()
            assert time.monotonic() - began < 2
            await until(lambda: heard == ["last"])

        self.check(2, body)
