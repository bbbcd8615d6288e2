"""What a bus promises to whoever asks."""

from __future__ import annotations

import asyncio

import pytest

from shoal.errors import (
    AgentStateError,
    DeadAgentError,
    DeadlockError,
    MailboxFullError,
    NoHandlerError,
    RequestFailedError,
    ResponseTimeoutError,
    ShoalError,
)
from shoal.kernel.ports import Bus
from shoal.testing.bus_contract import Body
from shoal.testing.receivers import Inbox, Replier, a_message, attached_everywhere, until

__all__ = ["QuestionsContract"]


class QuestionsContract:
    """Whoever asked gets the reply, the error, or why there is none."""

    def check(self, count: int, body: Body) -> None:
        """Run *body* with the bus that asks and the bus that answers."""
        raise NotImplementedError

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
