"""The way of mail: nothing is lost between mailbox, store and bus, and one sender's mail comes in the order it was sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, ResourceLimit, Task, TaskStatus
from shoal.errors import (
    DeadAgentError,
    LeaseLostError,
    MailboxFullError,
    RequestFailedError,
    ResponseTimeoutError,
    StoreError,
)
from shoal.kernel.inbox import Inbox
from tests.support.runtimes import running, until

Run = Callable[..., Any]
TEN = ResourceLimit(message_queue_max_size=10)


class Ear(BaseAgent):
    """Hears numbers, one after the other; ``seconds`` each."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.seconds = seconds

    async def on_message(self, message: Any) -> None:
        await asyncio.sleep(self.seconds)
        self.heard.append(message.data)


class Box(BaseAgent):
    """Has no on_message: a task takes what is there."""

    async def execute_task(self, task: Task) -> list[Any]:
        mail = await self.context.receive_messages(block=True, timeout_seconds=2)
        if task.name == "fails":
            raise ValueError([m.data for m in mail])
        if task.name == "sleeps":
            await asyncio.sleep(60)
        return [m.data for m in mail]


def inbox(runtime: AgentRuntime, name: str) -> Inbox:
    return runtime._here.post.cells[runtime.get_agent_status(name).agent_id].inbox


async def pressed(runtime: AgentRuntime, numbers: range, **options: Any) -> None:
    """Send *numbers* to the ear; one that is refused because there is no room is sent again."""
    for number in numbers:
        while True:
            try:
                await runtime.send_message(["ear"], "note", number, **options)
                break
            except MailboxFullError:
                await asyncio.sleep(0.001)


def in_order(heard: list[int], numbers: range) -> bool:
    return [number for number in heard if number in numbers] == list(numbers)


# -- nothing is lost ----------------------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_mailbox_fills_while_stored_mail_is_on_its_way(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear(0.001)
        async with running(url, {"ear": ear}, limits=TEN) as runtime:
            plain, durable = range(1000, 1060), range(40)
            await asyncio.gather(pressed(runtime, plain), pressed(runtime, durable, durable=True))
            await until(lambda: len(ear.heard) >= 100)
            assert in_order(ear.heard, plain) and in_order(ear.heard, durable)
            assert len(ear.heard) == 100

    run(main)


def test_what_was_parked_in_a_pause_comes_first_after_a_new_start_and_none_is_lost(store_url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear(0.001)
        runtime = AgentRuntime(store_url, TEN)
        await runtime.start()
        await runtime.register_agent("ear", ear)
        await runtime.start_agent("ear")
        await runtime.pause_agent("ear")
        for number in range(10):
            await runtime.send_message(["ear"], "note", number)
        await runtime.stop()
        await runtime.start()
        starting = asyncio.create_task(runtime.start_agent("ear"))
        number = 100
        while not starting.done() or number < 150:
            try:
                await runtime.send_message(["ear"], "note", number)
                number += 1
            except (MailboxFullError, DeadAgentError):
                await asyncio.sleep(0)
        await starting
        await until(lambda: len(ear.heard) >= 10 + number - 100)
        assert ear.heard == [*range(10), *range(100, number)]
        await runtime.stop()

    run(main)


def test_mail_that_is_being_fetched_when_a_pause_begins_is_kept(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear()
        async with running(url, {"ear": ear}) as runtime:
            for round in range(20):
                await runtime.pause_agent("ear")
                for number in range(5):
                    await runtime.send_message(["ear"], "note", 10 * round + number)
                resuming = asyncio.create_task(runtime.resume_agent("ear"))
                while inbox(runtime, "ear").fetching is None and not resuming.done():
                    await asyncio.sleep(0)
                await resuming
            await until(lambda: len(ear.heard) >= 100)
            assert ear.heard == sorted(ear.heard) and len(ear.heard) == 100

    run(main)


# -- one order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("pauses", [False, True])
def test_durable_and_plain_mail_of_one_sender_keep_their_order(
    store_url: str, run: Run, nodes: int, pauses: bool
) -> None:
    class Sender(BaseAgent):
        async def execute_task(self, task: Task) -> None:
            for number in range(300):
                while True:
                    try:
                        await self.context.send_message(["ear"], "note", number, durable=number % 7 in (0, 3, 4))
                        break
                    except MailboxFullError:
                        await asyncio.sleep(0.001)

    async def main() -> None:
        ear = Ear()
        async with (
            running(
                store_url, {"ear": ear}, durability="normal", limits=ResourceLimit(message_queue_max_size=20)
            ) as there,
            AgentRuntime(store=store_url, config={"durability": "normal"}) as second,
        ):
            here = there if nodes == 1 else second
            await here.register_agent("sender", Sender)
            await here.start_agent("sender")
            await until(lambda: here._here.env.bus.has(there.get_agent_status("ear").agent_id))
            task_id = await here.submit_task("send", agent="sender")
            while pauses and here.get_task_status(task_id).status is not TaskStatus.COMPLETED:
                await there.pause_agent("ear")
                await asyncio.sleep(0.01)
                await there.resume_agent("ear")
                await asyncio.sleep(0.01)
            task = await here.wait_for_task(task_id, 60)
            assert task.status is TaskStatus.COMPLETED, task.error_message
            await until(lambda: len(ear.heard) >= 300)
            assert ear.heard == list(range(300))

    run(main)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_stream_of_plain_mail_keeps_its_order_over_pauses(store_url: str, run: Run, nodes: int) -> None:
    class Sender(BaseAgent):
        async def execute_task(self, task: Task) -> int:
            number = 0
            while not await self.context.shared.get("enough"):
                for _ in range(20):
                    await self.context.send_message(["ear"], "note", number)
                    number += 1
                await asyncio.sleep(0)
            return number

    async def main() -> None:
        ear = Ear()
        limits = ResourceLimit(message_queue_max_size=None)
        config = {"durability": "normal"}
        async with (
            running(store_url, {"ear": ear}, limits=limits, durability="normal") as there,
            AgentRuntime(store=store_url, resource_limits=limits, config=config) as second,
        ):
            here = there if nodes == 1 else second
            await here.register_agent("sender", Sender)
            await here.start_agent("sender")
            await until(lambda: here._here.env.bus.has(there.get_agent_status("ear").agent_id))
            task_id = await here.submit_task("send", agent="sender")
            for _ in range(20):
                await there.pause_agent("ear")
                await asyncio.sleep(0.02)
                await there.resume_agent("ear")
                await asyncio.sleep(0.01)
            await here.shared.set("enough", True)
            sent = (await here.wait_for_task(task_id, 30)).result()
            await until(lambda: len(ear.heard) >= sent)
            broken = [pair for pair in pairwise(ear.heard) if pair[0] + 1 != pair[1]]
            assert not broken and len(ear.heard) == sent

    run(main)


def test_a_response_passes_the_line_that_its_asker_holds_up(url: str, run: Run) -> None:
    class Asks(BaseAgent):
        async def on_message(self, message: Any) -> None:
            if message.data == 0:
                await self.context.send_message(["echo"], "query", "hello", correlation_id="c")
                answer = await self.context.wait_for_response("c", timeout_seconds=10)
                await self.context.shared.set("answer", answer.data)

    class Echo(BaseAgent):
        async def on_message(self, message: Any) -> Any:
            return message.data

    async def main() -> None:
        async with running(url, {"asks": Asks, "echo": Echo}, limits=TEN) as runtime:
            sends = [runtime.send_message(["asks"], "note", number, durable=True) for number in range(40)]
            await asyncio.gather(*sends)
            await until(lambda: runtime.store.kv.get("answer", now=runtime._clock.now()), 5)
            assert await runtime.shared.get("answer") == "hello"

    run(main)


# -- questions ----------------------------------------------------------------------------------------------------------


def test_a_question_to_a_paused_agent_without_room_is_refused_at_once(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"ear": Ear()}, limits=ResourceLimit(message_queue_max_size=2)) as runtime:
            await runtime.pause_agent("ear")
            for number in range(2):
                await runtime.send_message(["ear"], "note", number)
            with pytest.raises(MailboxFullError):
                await asyncio.wait_for(runtime.request("ear", "note", 2, timeout_seconds=20), 5)

    run(main)


def test_a_question_that_cannot_be_brought_to_the_disk_fails(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"ear": Ear()}) as runtime:
            await runtime.pause_agent("ear")
            mail = runtime.store.mail
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreError("disk full", url=url))
            mail.put = lambda *args, **options: refused  # type: ignore[method-assign]
            with pytest.raises(StoreError, match="disk full"):
                await asyncio.wait_for(runtime.request("ear", "note", 1, timeout_seconds=20), 5)
            del mail.put
            assert inbox(runtime, "ear").parked == 0

    run(main)


def test_a_question_withdrawn_in_a_pause_is_not_handled_after_it(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear()
        async with running(url, {"ear": ear}) as runtime:
            await runtime.pause_agent("ear")
            with pytest.raises(ResponseTimeoutError):
                await runtime.request("ear", "ask", "too late", timeout_seconds=0.05)
            await runtime.send_message(["ear"], "note", "after")
            await runtime.resume_agent("ear")
            await until(lambda: ear.heard)
            assert ear.heard == ["after"]

    run(main)


# -- what was not handled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
def test_durable_mail_that_a_failed_task_took_comes_again(url: str, run: Run, retries: int) -> None:
    async def main() -> None:
        async with running(url, {"box": Box}) as runtime:
            await runtime.send_message(["box"], "note", 1, durable=True)
            failed = await runtime.wait_for_task(
                await runtime.submit_task("fails", agent="box", max_retries=retries), 10
            )
            assert (failed.status, failed.attempt, failed.error_message) == (TaskStatus.FAILED, 1 + retries, "[1]")
            task = await runtime.wait_for_task(await runtime.submit_task("take", agent="box"), 10)
            assert task.result() == [1]

    run(main)


def test_durable_mail_that_a_cancelled_task_took_comes_again(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"box": Box}) as runtime:
            await runtime.send_message(["box"], "note", 1, durable=True)
            task_id = await runtime.submit_task("sleeps", agent="box")
            box = inbox(runtime, "box")
            await until(lambda: runtime.get_task_status(task_id).status is TaskStatus.RUNNING and not box._coming)
            await until(lambda: not runtime.store.mail.waiting(runtime.get_agent_status("box").agent_id))
            await asyncio.sleep(0.05)
            assert await runtime.cancel_task(task_id)
            task = await runtime.wait_for_task(await runtime.submit_task("take", agent="box"), 10)
            assert task.result() == [1]

    run(main)


def test_a_handler_that_raises_payload_error_has_not_handled_its_message(url: str, run: Run) -> None:
    class Odd(Ear):
        async def on_message(self, message: Any) -> Any:
            self.heard.append(message.delivery_count)
            if message.data == "answer":
                return {1, 2}
            if len(self.heard) == 1:
                await self.context.send_message([self.agent_id], "note", {1, 2})
            return None

    async def main() -> None:
        odd = Odd()
        async with running(url, {"odd": odd}) as runtime:
            await runtime.send_message(["odd"], "note", 1, durable=True)
            await until(lambda: odd.heard == [1, 2], 5)
            assert len(runtime.query_events("agent_hook_failed")) == 1
            with pytest.raises(RequestFailedError, match="set"):
                await runtime.request("odd", "note", "answer")
            assert len(runtime.query_events("agent_hook_failed")) == 1, "what it returned is no error of its code"

    run(main)


def test_thousands_of_expired_messages_do_not_stop_an_agent(
    url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        ear = Ear(0.4)
        async with running(url, {"ear": ear}, limits=ResourceLimit(message_queue_max_size=None)) as runtime:
            await runtime.send_message(["ear"], "note", "first")
            await until(lambda: len(inbox(runtime, "ear").mailbox) == 0)
            for number in range(3000):
                await runtime.send_message(["ear"], "note", number, ttl_seconds=0.05)
            await runtime.send_message(["ear"], "note", "last")
            await until(lambda: len(ear.heard) >= 2, 20)
            assert ear.heard[0] == "first" and ear.heard[-1] == "last"

    with caplog.at_level(logging.ERROR):
        run(main)
    assert not caplog.records


# -- who has lost the right to write, and who else is to hear -----------------------------------------------------------


def test_a_node_that_others_have_given_up_writes_neither_mail_nor_values(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"ear": Ear()}, lease_seconds=60) as runtime:
            await runtime.store.leases.rescue([runtime.node_id], now=runtime._clock.now(), max_interruptions=9)
            with pytest.raises(LeaseLostError):
                await runtime.send_message(["ear"], "note", 1, durable=True)
            with pytest.raises(LeaseLostError):
                await runtime.shared.set("key", 1)
            with pytest.raises(LeaseLostError):
                await runtime.shared.delete("key")

    run(main)


def test_a_group_joined_on_another_node_gets_its_tasks_at_once(store_url: str, run: Run) -> None:
    class Works(BaseAgent):
        async def execute_task(self, task: Task) -> str:
            return self.name

    async def main() -> None:
        async with running(store_url, {"worker": Works}, poll_seconds=60) as there, running(store_url) as here:
            await here.create_group("g")
            await here.add_to_group("g", "worker")
            task_id = await here.submit_task("work", group="g")
            assert (await here.wait_for_task(task_id, 5)).result() == "worker"
            await here.remove_from_group("g", "worker")
            await until(lambda: there._here.registrations[there.get_agent_status("worker").agent_id].groups == (), 5)

    run(main)


def test_the_dependents_of_a_task_whose_target_is_unregistered_are_heard_of_at_once(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, poll_seconds=60) as runtime:
            await runtime.register_agent("box", Box)
            task_id = await runtime.submit_task("take", agent="box")
            waits = await runtime.submit_task("behind", dependencies=[task_id])
            waiter = asyncio.create_task(runtime.wait_for_task(waits, 20))
            await asyncio.sleep(0)
            await runtime.unregister_agent("box")
            task = await asyncio.wait_for(waiter, 5)
            assert (task.status, task.error_type) == (TaskStatus.FAILED, "DependencyFailedError")

    run(main)
