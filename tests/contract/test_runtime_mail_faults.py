"""Mail when something goes wrong: stores that refuse, agents that die or do not start, askers that wait no longer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, ResourceLimit, RestartPolicy, Task
from shoal.errors import AgentStartError, MailboxFullError, ResponseTimeoutError, ShoalError, StoreError
from shoal.kernel.mailbox import Mailbox
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import running, until

Run = Callable[..., Any]
MEMORY = "sqlite://:memory:"


class Ear(BaseAgent):
    """Hears numbers; ``seconds`` each."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.seconds = seconds

    async def on_message(self, message: Any) -> None:
        self.heard.append(message.data)
        await self.clock().sleep(self.seconds)

    def clock(self) -> VirtualClock:
        raise NotImplementedError


def ear(clock: VirtualClock, seconds: float = 0.0) -> Ear:
    made = Ear(seconds)
    made.clock = lambda: clock  # type: ignore[method-assign]
    return made


class Asker(BaseAgent):
    """Its task asks the agents of its input under one correlation, then waits after ``late`` seconds."""

    def __init__(self, clock: VirtualClock, late: float = 0.0, **options: Any) -> None:
        super().__init__()
        self.clock, self.late, self.options = clock, late, options

    async def execute_task(self, task: Task) -> list[Any]:
        await self.context.send_message(task.input_data["who"], "question", 1, correlation_id="c", **self.options)
        await self.clock.sleep(self.late)
        began = self.clock.monotonic()
        try:
            return ["answer", (await self.context.wait_for_response("c", timeout_seconds=30)).data]
        except ShoalError as error:
            return [type(error).__name__, self.clock.monotonic() - began]


def refuse_once(noun: Any, verb: str) -> None:
    """Let the next call of a verb of the store fail."""
    right = getattr(noun, verb)

    def wrong(*args: Any, **fields: Any) -> Awaitable[Any]:
        setattr(noun, verb, right)
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(StoreError("disk full", url="x"))
        return failed

    setattr(noun, verb, wrong)


# -- the store refuses -------------------------------------------------------------------------------------------------


def test_a_message_whose_failure_the_store_did_not_hear_comes_again() -> None:
    seen = []

    class Fails(BaseAgent):
        async def on_message(self, message: Any) -> None:
            seen.append(message.delivery_count)
            if len(seen) == 1:
                raise ValueError

    async def main(clock: VirtualClock) -> None:
        async with running(MEMORY, {"a": Fails}, clock=clock) as runtime:
            refuse_once(runtime.store.mail, "nack")
            await runtime.send_message(["a"], "note", 1, durable=True)
            await clock.sleep(10)
            assert seen == [1, 2]

    run_virtual(main)


def test_a_message_whose_acknowledgement_the_store_did_not_hear_is_not_handled_again() -> None:
    async def main(clock: VirtualClock) -> None:
        hears = ear(clock)
        async with running(MEMORY, {"a": hears}, clock=clock) as runtime:
            refuse_once(runtime.store.mail, "ack")
            await runtime.send_message(["a"], "note", 1, durable=True)
            await clock.sleep(10)
            await runtime.stop_agent("a")
            await runtime.start_agent("a")
            await clock.sleep(10)
            assert hears.heard == [1]

    run_virtual(main)


def test_a_store_that_cannot_be_read_ends_no_handler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(clock: VirtualClock) -> None:
        listener = ear(clock, seconds=1.0)
        limits = ResourceLimit(message_queue_max_size=4)  # so that more mail waits in the store
        async with running(MEMORY, {"ear": listener}, clock=clock, limits=limits) as runtime:
            due = runtime.store.mail.due

            def away(*given: Any, **named: Any) -> Any:
                raise StoreError("the server is away")

            for n in range(12):
                await runtime.send_message(["ear"], "note", n, durable=True)
            await clock.sleep(0.5)
            monkeypatch.setattr(runtime.store.mail, "due", away)
            await clock.sleep(5)
            monkeypatch.setattr(runtime.store.mail, "due", due)
            await clock.sleep(20)
            assert listener.heard == list(range(12))
            ended = [each.getMessage() for each in caplog.records if each.exc_info]
            assert {text.partition(" failed")[0] for text in ended} <= {"poll"}, "the sweep says so, and goes on"
            assert runtime.query_events("agent_failed") == []

    run_virtual(main)


def test_dead_letters_that_the_store_refused_are_kept_later() -> None:
    async def main(clock: VirtualClock) -> None:
        async with running(MEMORY, {"a": ear(clock, 100)}, clock=clock) as runtime:
            for number in range(3):
                await runtime.send_message(["a"], "note", number)
            await clock.sleep(1)
            refuse_once(runtime.store.mail, "bury")
            await runtime.stop_agent("a", graceful=False)
            await clock.sleep(10)
            assert [letter.message.data for letter in runtime.dead_letters()] == [2, 1]

    run_virtual(main)


# -- the agent ends ----------------------------------------------------------------------------------------------------


@pytest.mark.sqlite
def test_mail_that_an_agent_took_before_its_start_failed_is_not_lost(store_url: str) -> None:
    bad = [False]
    heard = []

    class Odd(BaseAgent):
        async def on_start(self) -> None:
            if bad[0]:
                await self.context.receive_messages(limit=1)
                raise ValueError

        async def on_message(self, message: Any) -> None:
            heard.append(message.data)

    async def main(clock: VirtualClock) -> None:
        runtime = AgentRuntime(store_url, clock=clock)
        await runtime.start()
        await runtime.register_agent("a", Odd)
        await runtime.start_agent("a")
        await runtime.pause_agent("a")
        for number in range(6):
            await runtime.send_message(["a"], "note", number, durable=number >= 3)
        await runtime.stop()
        await runtime.start()
        bad[0] = True
        with pytest.raises(AgentStartError):
            await runtime.start_agent("a")
        bad[0] = False
        await runtime.start_agent("a")
        await clock.sleep(5)
        assert heard == [3, 4, 5]
        assert [letter.message.data for letter in runtime.dead_letters()] == [2, 1], "the first one was received"
        await runtime.stop()

    run_virtual(main)


def test_stops_while_a_message_waits_are_no_failures_of_it() -> None:
    slow = [True]
    seen = []

    async def main(clock: VirtualClock) -> None:
        class Agent(BaseAgent):
            async def on_message(self, message: Any) -> None:
                if slow[0]:
                    await clock.sleep(1000)
                if message.data == "second":
                    seen.append(clock.monotonic())
                    if len(seen) == 1:
                        raise ValueError

        async with running(MEMORY, {"a": Agent}, clock=clock) as runtime:
            for text in ("first", "second"):
                await runtime.send_message(["a"], "note", text, durable=True)
            for number in range(12):
                await clock.sleep(1)
                await runtime.stop_agent("a", graceful=False)
                slow[0] = number < 11
                await runtime.start_agent("a")
            await clock.sleep(30)
            assert len(seen) == 2 and seen[1] - seen[0] < 15 and runtime.dead_letters() == []

    run_virtual(main)


class Poisoned(BaseAgent):
    """Its process ends with one of its messages."""

    async def on_message(self, message: Any) -> None:
        if message.data == "poison":
            os._exit(3)
        await self.context.shared.set(message.data, True)


def test_a_message_that_kills_its_agent_each_time_becomes_a_dead_letter(url: str, run: Run) -> None:
    async def main() -> None:
        restart = RestartPolicy(max_restarts=9, initial_seconds=0.01, factor=1)
        async with running(
            url, {"a": Poisoned}, options={"isolation": "process", "restart": restart}, poll_seconds=0.2
        ) as runtime:
            for text in ("poison", "good"):
                await runtime.send_message(["a"], "note", text, durable=True)
            await until(runtime.dead_letters)
            (letter,) = runtime.dead_letters()
            assert (letter.message.data, letter.reason) == ("poison", "failures")
            await until(lambda: runtime.store.kv.get("good", now=runtime._here.env.clock.now()))

    run(main)


def test_who_asked_hears_before_on_stop_that_the_handler_was_cut_short() -> None:
    async def main(clock: VirtualClock) -> None:
        class Slow(BaseAgent):
            async def on_message(self, message: Any) -> None:
                await clock.sleep(100)

            async def on_stop(self) -> None:
                await clock.sleep(4)

        async with running(MEMORY, {"a": Slow}, clock=clock) as runtime:
            asking = asyncio.create_task(runtime.request("a", "question", 1, timeout_seconds=60))
            await clock.sleep(1)
            stopping = asyncio.create_task(runtime.stop_agent("a", graceful=False))
            await asyncio.wait([asking])
            assert type(asking.exception()).__name__ == "DeadAgentError" and clock.monotonic() < 2
            await stopping

    run_virtual(main)


# -- pause -------------------------------------------------------------------------------------------------------------


def test_a_paused_agent_stays_as_it_is_when_the_asker_of_a_held_handler_waits_no_longer() -> None:
    built = []

    async def main(clock: VirtualClock) -> None:
        class Slow(BaseAgent):
            def __init__(self) -> None:
                super().__init__()
                built.append(self)

            async def on_message(self, message: Any) -> None:
                await clock.sleep(3)

        async with running(MEMORY, {"a": Slow}, clock=clock) as runtime:
            asking = asyncio.create_task(runtime.request("a", "question", 1, timeout_seconds=2))
            await clock.sleep(1)
            await runtime.pause_agent("a")
            with pytest.raises(ResponseTimeoutError):
                await asking
            await clock.sleep(60)
            assert runtime.get_agent_status("a").status == "paused" and len(built) == 1
            await runtime.resume_agent("a")
            await clock.sleep(60)
            assert runtime.get_agent_status("a").status == "running" and len(built) == 1

    run_virtual(main)


# -- to several --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", range(6))
def test_nobody_gets_what_one_of_several_refuses_whatever_is_on_its_way_to_the_disk(turns: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with running(MEMORY, {"a": ear(clock), "b": ear(clock)}, clock=clock) as runtime:
            await runtime.pause_agent("a")
            sending = asyncio.create_task(runtime.send_message(["a", "b"], "note", 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            await runtime.stop_agent("b")
            await asyncio.wait([sending])
            stored = runtime.store.mail.waiting(runtime.get_agent_status("a").agent_id)
            assert stored == int(sending.exception() is None)

    run_virtual(main)


def test_a_full_mailbox_on_another_node_is_told_there_as_here(store_url: str, run: Run) -> None:
    async def main() -> None:
        class Busy(BaseAgent):
            async def on_message(self, message: Any) -> None:
                await asyncio.sleep(60)

        limits = ResourceLimit(message_queue_max_size=2)
        async with running(store_url, {"a": Busy}, limits=limits) as there, running(store_url) as here:
            await until(lambda: here._here.env.bus.has(there.get_agent_status("a").agent_id))
            with pytest.raises(MailboxFullError):
                for number in range(9):
                    await here.send_message(["a"], "note", number)
            await until(lambda: there.query_events(event_type="message_rejected"))
            assert [letter.reason for letter in there.dead_letters()] == ["full"]
            await there.stop_agent("a", graceful=False)

    run(main)


# -- waits for a response ----------------------------------------------------------------------------------------------


def test_one_of_two_who_were_asked_stops_and_the_other_answers() -> None:
    async def main(clock: VirtualClock) -> None:
        class Answers(BaseAgent):
            async def on_message(self, message: Any) -> None:
                await clock.sleep(2)
                await self.context.reply(message, "late")

        agents = {"asker": Asker(clock), "silent": ear(clock, 100), "answers": Answers}
        async with running(MEMORY, agents, clock=clock) as runtime:
            task_id = await runtime.submit_task("ask", {"who": ["silent", "answers"]}, agent="asker")
            await clock.sleep(1)
            await runtime.stop_agent("silent", graceful=False)
            assert (await runtime.wait_for_task(task_id)).output_data == ["answer", "late"]

    run_virtual(main)


@pytest.mark.parametrize("late", [0.0, 5.0])
@pytest.mark.parametrize(
    ("how", "error"),
    [("fails", "RequestFailedError"), ("stops", "DeadAgentError"), ("expires", "MessageExpiredError")],
)
def test_who_waits_for_a_response_that_cannot_come_hears_so(late: float, how: str, error: str) -> None:
    async def main(clock: VirtualClock) -> None:
        class Fails(BaseAgent):
            async def on_message(self, message: Any) -> None:
                raise ValueError

        asker = Asker(clock, late, ttl_seconds=2)
        async with running(
            MEMORY, {"asker": asker, "a": Fails if how == "fails" else ear(clock, 20)}, clock=clock
        ) as runtime:
            if how == "expires":
                await runtime.send_message(["a"], "note", 0)
            task_id = await runtime.submit_task("ask", {"who": ["a"]}, agent="asker")
            await clock.sleep(1)
            if how == "stops":
                await runtime.stop_agent("a", graceful=False)
                await runtime.start_agent("a")
            said, waited = (await runtime.wait_for_task(task_id)).output_data
            assert said == error and waited <= 3

    run_virtual(main)


def test_a_durable_response_is_done_with_when_the_task_that_took_it_completes() -> None:
    async def main(clock: VirtualClock) -> None:
        class Waits(BaseAgent):
            async def execute_task(self, task: Task) -> Any:
                return (await self.context.wait_for_response("c", timeout_seconds=10)).data

        async with running(MEMORY, {"a": Waits}, clock=clock) as runtime:
            task_id = await runtime.submit_task("wait", agent="a")
            await runtime.send_message(["a"], "note", 7, correlation_id="c", durable=True)
            assert (await runtime.wait_for_task(task_id)).output_data == 7
            await runtime.stop_agent("a")
            assert runtime.store.mail.waiting(runtime.get_agent_status("a").agent_id) == 0

    run_virtual(main)


def test_a_reader_that_goes_without_its_mail_wakes_the_next() -> None:
    async def main(clock: VirtualClock) -> None:
        async with running(MEMORY, clock=clock) as runtime:
            message = runtime._here.post.writing.message(None, "note", 1)
        box = Mailbox("a", None, clock.now, lambda message: None)
        first, second = (asyncio.create_task(box.wait()) for _ in range(2))
        await asyncio.sleep(0)
        box.put(message)
        first.cancel()
        async with clock.timeout(5):
            await second
        assert first.cancelled()

    run_virtual(main)
