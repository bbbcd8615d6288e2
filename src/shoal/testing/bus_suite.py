"""The conformance suite of the Bus port: every backend passes it, and a third party's can.

Subclass :class:`BusSuite` in a test file as ``TestSomething`` and give it :meth:`BusSuite.buses`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from shoal.errors import (
    AgentStateError,
    DeadAgentError,
    DeadlockError,
    MailboxFullError,
    NoHandlerError,
    RequestFailedError,
    ResponseTimeoutError,
    RuntimeStateError,
    ShoalError,
)
from shoal.kernel.clock import RealClock
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Bus
from shoal.testing.receivers import Inbox, Replier, SlowInbox, a_message, attached_everywhere, until

__all__ = ["BusSuite"]

_clock = RealClock()


class BusSuite:
    """What every bus keeps. Each test runs with one bus (both names mean it) or with two connected ones."""

    def buses(self, count: int) -> AbstractAsyncContextManager[list[Bus]]:
        """Return a context with *count* started buses that reach each other; leaving it stops them."""
        raise NotImplementedError

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run one test on an event loop of its own."""
        asyncio.run(main)

    def check(self, count: int, body: Callable[[Bus, Bus], Coroutine[Any, Any, None]]) -> None:
        """Run *body* with the bus that asks and the bus that answers."""

        async def main() -> None:
            async with self.buses(count) as buses:
                await body(buses[0], buses[-1])

        self.run(main())

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

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_request_is_answered(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            there.attach("a", Replier(lambda asked: {"twice": asked.data}))
            await attached_everywhere([here], "a")
            answers = await asyncio.gather(*(here.request("a", a_message(n), 5.0) for n in range(50)))
            assert [each.data for each in answers] == [{"twice": n} for n in range(50)]
            assert (await here.request("a", a_message(7), None)).data == {"twice": 7}

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize(
        "error",
        [
            NoHandlerError("Agent 'x' has no on_message", note="Give it one."),
            RequestFailedError("bad: ValueError: no", error_type="ValueError", error_message="no", traceback="Trace…"),
            DeadlockError(["a", "b", "a"]),
            DeadAgentError("died", reason="died", exit_code=3, agent_id="a", name="A"),
            MailboxFullError(["a"], 5),
            AgentStateError("cannot", status="stopped", operation="pause"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_an_error_comes_back_as_it_was(self, count: int, error: ShoalError) -> None:
        async def body(here: Bus, there: Bus) -> None:
            there.attach("a", Replier(lambda asked: error))
            await attached_everywhere([here], "a")
            with pytest.raises(type(error)) as caught:
                await here.request("a", a_message(), 5.0)
            assert type(caught.value) is type(error)
            assert str(caught.value) == str(error)
            assert vars(caught.value) == vars(error)

        self.check(count, body)

    def test_another_error_comes_from_another_node_as_a_failed_request(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            there.attach("a", Replier(lambda asked: KeyError("price")))
            await attached_everywhere([here], "a")
            with pytest.raises(RequestFailedError) as caught:
                await here.request("a", a_message(), 5.0)
            assert caught.value.error_type == "KeyError"
            assert caught.value.error_message == "'price'"

        self.check(2, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_nobody_there_is_told_at_once(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            for verb in (here.send("ghost", a_message()), here.request("ghost", a_message(), 30.0)):
                with pytest.raises(DeadAgentError) as caught:
                    await asyncio.wait_for(verb, 1.0)
                assert caught.value.reason == "not_running"
                assert caught.value.agent_id == "ghost"
            assert not here.has("ghost")

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_no_answer_in_time(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            with pytest.raises(ResponseTimeoutError, match=r"No answer from 'a' after 0\.05 s"):
                await here.request("a", a_message(), 0.05)
            await until(lambda: inbox.open[0].done())  # whoever would have answered can see that nobody waits

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_an_asker_that_is_cancelled_leaves_nothing_open(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            asking = asyncio.ensure_future(here.request("a", a_message(), 30.0))
            await until(lambda: inbox.open)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await until(lambda: inbox.open[0].done())

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_question_that_is_dropped_is_an_error_and_no_cancellation(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            asking = asyncio.ensure_future(here.request("a", a_message(), 30.0))
            await until(lambda: inbox.open)
            inbox.open[0].cancel()
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(asking, 1.0)

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("reason", [None, "died"])
    def test_the_death_of_the_receiver_ends_open_requests(self, count: int, reason: str | None) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            asking = [asyncio.ensure_future(here.request("a", a_message(), 30.0)) for _ in range(3)]
            await until(lambda: len(inbox.open) == 3)
            there.detach("a", DeadAgentError("gone", reason=reason, exit_code=9) if reason else None)
            for each in asking:
                with pytest.raises(DeadAgentError) as caught:
                    await asyncio.wait_for(each, 1.0)
                assert caught.value.reason == (reason or "stopped")
                assert caught.value.exit_code == (9 if reason else None)
            await until(lambda: not here.has("a"))
            with pytest.raises(DeadAgentError):
                await here.send("a", a_message())

        self.check(count, body)

    @pytest.mark.parametrize("count", [1, 2])
    def test_stop_ends_open_requests(self, count: int) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            asking = asyncio.ensure_future(here.request("a", a_message(), None))
            await until(lambda: inbox.open)
            await here.stop()
            with pytest.raises(DeadAgentError):
                await asyncio.wait_for(asking, 1.0)

        self.check(count, body)

    def test_the_end_of_a_node_ends_open_requests_to_it(self) -> None:
        async def body(here: Bus, there: Bus) -> None:
            inbox = Inbox()
            there.attach("a", inbox)
            await attached_everywhere([here], "a")
            asking = asyncio.ensure_future(here.request("a", a_message(), None))
            await until(lambda: inbox.open)
            await there.stop()
            with pytest.raises(DeadAgentError) as caught:
                await asyncio.wait_for(asking, 1.0)
            assert caught.value.reason in ("stopped", "node_lost")
            await until(lambda: not here.has("a"))

        self.check(2, body)

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
