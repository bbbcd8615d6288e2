"""Messages: order, answers, full mailboxes, broadcasts and topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest

from shoal import AgentRuntime, BaseAgent, ResourceLimit, Task, TaskStatus
from shoal.errors import (
    AgentNotFoundError,
    DeadAgentError,
    DeadlockError,
    MailboxFullError,
    MessageExpiredError,
    MessageTooLargeError,
)
from tests.support.runtimes import running, until

Run = Callable[..., Any]
MB = 1 << 20


class Ear(BaseAgent):
    """Hears; its mail is ``heard``."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.heard: list[Any] = []

    async def on_message(self, message: Any) -> None:
        self.heard.append(message)

    def has(self, number: int) -> Callable[[], bool]:
        return lambda: len(self.heard) >= number


class Box(BaseAgent):
    """Has no on_message: its mail waits; a task with it takes what is there."""

    async def execute_task(self, task: Task) -> list[Any]:
        mail = await self.context.receive_messages()
        return [m.data for m in mail]


async def take(runtime: AgentRuntime, name: str) -> list[Any]:
    task = await runtime.wait_for_task(await runtime.submit_task("take", agent=name), 10)
    assert task.status is TaskStatus.COMPLETED, task.error_message
    taken = task.output_data
    assert isinstance(taken, list)
    return taken


def letters(runtime: AgentRuntime) -> list[tuple[str, str, Any]]:
    """Reason, recipient's name and data of each dead letter, oldest first."""
    found = reversed(runtime.dead_letters())
    return [(x.reason, runtime.get_agent_status(x.recipient_id).name, x.message.data) for x in found]


# -- rates: the facts, with ten times the figures as guards -------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.spec("R32")
def test_a_thousand_direct_messages(url: str, run: Run) -> None:
    async def main() -> None:
        ear = Ear()
        async with running(url, {"ear": ear}) as runtime:
            took = []
            for n in range(1000):
                began = time.perf_counter()
                await runtime.send_message(["ear"], "note", n)
                await until(ear.has(n + 1))
                took.append(time.perf_counter() - began)
            assert [m.data for m in ear.heard] == list(range(1000))
            assert sorted(took)[950] < 0.010

    run(main)


@pytest.mark.spec("R32")
def test_ten_agents_send_ten_thousand_messages(url: str, run: Run) -> None:
    class Sender(BaseAgent):
        async def execute_task(self, task: Task) -> None:
            for n in range(1000):
                await self.context.send_message([f"ear-{task.input_data['lane']}"], "note", n)

    async def main() -> None:
        ears = [Ear() for _ in range(10)]
        agents: dict[str, Any] = {f"ear-{n}": ear for n, ear in enumerate(ears)}
        agents |= {f"sender-{n}": Sender for n in range(10)}
        async with running(url, agents, limits=ResourceLimit(max_concurrent_agents=20)) as runtime:
            began = time.monotonic()
            ids = [await runtime.submit_task("send", {"lane": n}, agent=f"sender-{n}") for n in range(10)]
            done = await runtime.wait_for_tasks(ids, 60)
            assert all(task.status is TaskStatus.COMPLETED for task in done), [t.error_message for t in done]
            await until(lambda: all(len(ear.heard) == 1000 for ear in ears))
            assert time.monotonic() - began < 10

    run(main)


@pytest.mark.spec("R32")
def test_broadcast_to_ten(url: str, run: Run) -> None:
    async def main() -> None:
        ears = [Ear() for _ in range(10)]
        agents: dict[str, Any] = {f"ear-{n}": ear for n, ear in enumerate(ears)}

        class Caller(BaseAgent):
            async def execute_task(self, task: Task) -> int:
                began = time.perf_counter()
                reached = await self.context.broadcast_message("note", 1)
                assert time.perf_counter() - began < 0.1
                return reached

        limits = ResourceLimit(max_concurrent_agents=11)
        async with running(url, {**agents, "caller": Caller}, limits=limits) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("call", agent="caller"), 10)
            assert task.result() == 10
            await until(lambda: all(len(ear.heard) == 1 for ear in ears))

    run(main)


class Echo(BaseAgent):
    async def on_message(self, message: Any) -> Any:
        return message.data


@pytest.mark.spec("R32")
def test_round_trips_to_a_process(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"echo": Echo}, options={"isolation": "process"}) as runtime:
            took = []
            for n in range(200):
                began = time.perf_counter()
                assert (await runtime.request("echo", "ask", n)).data == n
                took.append(time.perf_counter() - began)
            assert sorted(took)[190] < 0.050

    run(main)


# -- order and answers --------------------------------------------------------------------------------------------------


@pytest.mark.spec("R33")
@pytest.mark.parametrize("handler", [True, False])
def test_five_senders_keep_their_order_and_each_message_comes_once(url: str, run: Run, handler: bool) -> None:
    class Sender(BaseAgent):
        async def execute_task(self, task: Task) -> None:
            for n in range(1000):
                await self.context.send_message(["receiver"], "note", [self.name, n])

    async def main() -> None:
        ear = Ear()
        agents: dict[str, Any] = {f"s{n}": Sender for n in range(5)}
        limits = ResourceLimit(message_queue_max_size=5000)
        async with running(url, {**agents, "receiver": ear if handler else Box}, limits=limits) as runtime:
            ids = [await runtime.submit_task("send", agent=name) for name in agents]
            done = await runtime.wait_for_tasks(ids, 60)
            assert all(task.status is TaskStatus.COMPLETED for task in done), [t.error_message for t in done]
            if handler:
                await until(lambda: len(ear.heard) >= 5000)
                got = [m.data for m in ear.heard]
            else:
                got = await take(runtime, "receiver")
            assert len(got) == 5000
            for name in agents:
                assert [n for sender, n in got if sender == name] == list(range(1000))

    run(main)


@pytest.mark.spec("R33")
def test_a_response_is_taken_out_of_the_midst_of_other_mail(url: str, run: Run) -> None:
    class Asker(BaseAgent):
        async def execute_task(self, task: Task) -> list[Any]:
            ask = str(uuid4())
            await self.context.send_message(["answerer"], "query", {}, correlation_id=ask)
            response = await self.context.wait_for_response(ask, timeout_seconds=5)
            rest = await self.context.receive_messages()
            early = str(uuid4())
            await self.context.send_message(["answerer"], "query", {}, correlation_id=early)
            while not (mail := await self.context.receive_messages(limit=0)) and not await self.context.shared.get(
                "sent"
            ):
                await asyncio.sleep(0.01)
            assert mail == []
            late = await self.context.wait_for_response(early, timeout_seconds=5)  # it came before
            return [response.message_type, response.data, [m.data for m in rest], late.data]

    class Answerer(BaseAgent):
        async def execute_task(self, task: Task) -> None:
            (query,) = await self.context.receive_messages(block=True, timeout_seconds=5)
            for n in range(10):
                await self.context.send_message(["asker"], "note", n)
                if n == 5:
                    await self.context.reply(query, "the answer")
            await asyncio.sleep(0)
            (query,) = await self.context.receive_messages(block=True, timeout_seconds=5)
            await self.context.reply(query, "early")
            await self.context.shared.set("sent", True)

    async def main() -> None:
        async with running(url, {"asker": Asker, "answerer": Answerer}) as runtime:
            await runtime.submit_task("answer", agent="answerer")
            await until(lambda: runtime.get_queue_status()["running_count"] == 1)
            for n in range(100, 110):
                await runtime.send_message(["asker"], "note", n)
            task = await runtime.wait_for_task(await runtime.submit_task("ask", agent="asker"), 20)
            kind, answer, rest, late = task.result()
            assert (kind, answer, late) == ("response", "the answer", "early")
            assert rest[:10] == list(range(100, 110)) and rest[10:] == list(range(len(rest) - 10)) and len(rest) >= 16

    run(main)


# -- what cannot be delivered -------------------------------------------------------------------------------------------


@pytest.mark.spec("R34")
def test_the_1001st_message_to_a_full_mailbox(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"box": Box, "other": Box}) as runtime:
            for n in range(1000):
                await runtime.send_message(["box"], "note", n)
            with pytest.raises(MailboxFullError) as error:
                await runtime.send_message(["other", "box"], "note", "too much")
            assert (error.value.recipients, error.value.max_size) == (("box",), 1000)
            assert await take(runtime, "other") == [], "all or none"
            await until(lambda: letters(runtime))
            assert letters(runtime) == [("full", "box", "too much")]
            assert len(runtime.query_events("message_rejected")) == 1
            assert len(runtime.query_events("message_dead_lettered")) == 1
            assert await take(runtime, "box") == list(range(1000))
            await runtime.send_message(["box"], "note", "room again")
            assert await take(runtime, "box") == ["room again"]

    run(main)


@pytest.mark.spec("R34")
def test_a_full_mailbox_of_a_paused_agent_counts_as_full_too(url: str, run: Run) -> None:
    async def main() -> None:
        limits = ResourceLimit(message_queue_max_size=3)
        async with running(url, {"box": Box, "other": Box}, limits=limits) as runtime:
            await runtime.send_message(["box"], "note", 0)
            await runtime.pause_agent("box")
            await runtime.send_message(["box"], "note", 1)
            await runtime.send_message(["box"], "note", 2)
            with pytest.raises(MailboxFullError):
                await runtime.send_message(["other", "box"], "note", 3)
            assert await take(runtime, "other") == []
            await until(lambda: letters(runtime))
            await runtime.resume_agent("box")
            assert await take(runtime, "box") == [0, 1, 2]

    run(main)


@pytest.mark.spec("R34")
def test_ten_megabytes_pass_and_one_byte_more_does_not(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"box": Box}) as runtime:
            with pytest.raises(MessageTooLargeError) as error:
                await runtime.send_message(["box"], "note", "x" * (10 * MB - 1))  # and two quotes
            assert (error.value.size, error.value.limit) == (10 * MB + 1, 10 * MB)
            assert str(error.value) == f"data has {10 * MB + 1} bytes, the limit is {10 * MB}"
            await runtime.send_message(["box"], "note", "x" * (10 * MB - 2))
            assert runtime.get_agent_status("box").mailbox_size == 1
            assert letters(runtime) == []

    run(main)


@pytest.mark.spec("R34")
def test_expired_mail_becomes_a_dead_letter_and_its_asker_hears(url: str, run: Run) -> None:
    class Busy(BaseAgent):
        async def on_message(self, message: Any) -> None:
            await asyncio.sleep(message.data)

    async def main() -> None:
        async with running(url, {"box": Box, "busy": Busy}) as runtime:
            await runtime.send_message(["box"], "note", "short", ttl_seconds=0.05)
            await runtime.send_message(["box"], "note", "long")
            await asyncio.sleep(0.06)
            assert await take(runtime, "box") == ["long"], "checked when it is taken"
            await until(lambda: letters(runtime))
            await runtime.send_message(["box"], "note", "swept", ttl_seconds=0.05)
            await until(lambda: len(letters(runtime)) == 2, 3)  # and every second
            assert letters(runtime) == [("expired", "box", "short"), ("expired", "box", "swept")]
            assert len(runtime.query_events("message_expired")) == 2
            assert runtime.get_agent_status("box").mailbox_size == 0

    run(main)


@pytest.mark.spec("R34")
def test_who_waits_for_the_response_to_an_expired_message_hears_at_once(url: str, run: Run) -> None:
    class Asker(BaseAgent):
        async def execute_task(self, task: Task) -> str:
            ask = str(uuid4())
            await self.context.send_message(["box"], "query", {}, correlation_id=ask, ttl_seconds=0.05)
            try:
                await self.context.wait_for_response(ask, timeout_seconds=10)
            except MessageExpiredError as error:
                return str(error)
            return "an answer"

    async def main() -> None:
        async with running(url, {"asker": Asker, "box": Box}) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("ask", agent="asker"), 3)
            assert task.result() == "The message to 'box' expired before it was taken"

    run(main)


@pytest.mark.spec("R34")
@pytest.mark.parametrize("wrong", ["nobody", "stopped"])
def test_one_bad_recipient_among_three_and_nobody_gets_it(url: str, run: Run, wrong: str) -> None:
    async def main() -> None:
        async with running(url, {"a": Box, "b": Box}) as runtime:
            await runtime.register_agent("stopped", Box)
            with pytest.raises(AgentNotFoundError if wrong == "nobody" else DeadAgentError):
                await runtime.send_message(["a", wrong, "b"], "note", 1)
            with pytest.raises(AgentNotFoundError if wrong == "nobody" else DeadAgentError) as error:
                await runtime.send_message(["a", "b", wrong], "note", 1)
            if isinstance(error.value, DeadAgentError):
                assert error.value.reason == "not_running"
            assert await take(runtime, "a") == [] and await take(runtime, "b") == []

    run(main)


# -- broadcast and topics -----------------------------------------------------------------------------------------------


@pytest.mark.spec("R35")
def test_a_broadcast_reaches_the_running_and_the_paused_but_not_its_sender(url: str, run: Run) -> None:
    class Caller(Box):
        async def execute_task(self, task: Task) -> Any:
            if task.name == "take":
                return await super().execute_task(task)
            return await self.context.broadcast_message("note", task.name, group=task.input_data.get("group"))

    async def main() -> None:
        agents: dict[str, Any] = {"caller": Caller, "a": Box, "b": Box, "paused": Box, "stopped": Box}
        async with running(url, agents) as runtime:
            await runtime.pause_agent("paused")
            await runtime.stop_agent("stopped")
            await runtime.create_group("few", ["caller", "b", "stopped"])

            async def call(name: str, **data: Any) -> Any:
                task_id = await runtime.submit_task(name, data, agent="caller")
                return (await runtime.wait_for_task(task_id, 10)).result()

            assert await call("to all") == 3
            assert await call("to few", group="few") == 1
            assert await take(runtime, "a") == ["to all"]
            assert await take(runtime, "b") == ["to all", "to few"]
            assert await take(runtime, "caller") == []
            assert runtime.get_agent_status("paused").mailbox_size == 1
            await runtime.resume_agent("paused")
            assert await take(runtime, "paused") == ["to all"]
            await runtime.start_agent("stopped")
            assert await take(runtime, "stopped") == []

    run(main)


@pytest.mark.spec("R35")
def test_topics_with_wildcards_count_right(url: str, run: Run) -> None:
    class Subscriber(Box):
        async def on_start(self) -> None:
            for pattern in self.config["patterns"]:
                await self.context.subscribe(pattern)

    patterns = {"one": ["a.*.c"], "rest": ["a.>"], "exact": ["a.b.c"], "both": ["a.b.*", "a.>"], "other": ["b.>"]}

    async def main() -> None:
        limits = ResourceLimit(message_queue_max_size=4)
        async with running(url, limits=limits) as runtime:
            for name, words in patterns.items():
                await runtime.register_agent(name, Subscriber, {"patterns": words})
                await runtime.start_agent(name)
            assert await runtime.publish("a.b.c", 1) == 4
            assert await runtime.publish("a.x.c", 2) == 3
            assert await runtime.publish("a.b", 3) == 2
            assert await runtime.publish("a", 4) == 0
            assert await runtime.publish("c.d", 5) == 0
            got = {name: await take(runtime, name) for name in patterns}
            assert got == {"one": [1, 2], "rest": [1, 2, 3], "exact": [1], "both": [1, 2, 3], "other": []}
            for n in range(6):  # a full one is skipped, and it is told
                assert await runtime.publish("b.n", n) == (1 if n < 4 else 0)
            await until(lambda: len(letters(runtime)) == 2)
            assert letters(runtime) == [("full", "other", 4), ("full", "other", 5)]
            assert len(runtime.query_events("message_rejected")) == 2
            await runtime.stop_agent("rest")
            assert await runtime.publish("a.q", 6) == 1, "the subscriptions of a stopped agent have ended"

    run(main)


# -- circles of waits ---------------------------------------------------------------------------------------------------


class Node(BaseAgent):
    """Passes a request on along ``message.data``; waits for the other handlers to have begun first when told so."""

    async def on_message(self, message: Any) -> Any:
        path, meet = message.data["path"], message.data.get("meet")
        if meet:
            await self.context.shared.set(f"{meet}/{self.name}", True)
            while len(await self.context.shared.keys(f"{meet}/")) < 2:
                await asyncio.sleep(0.005)
        if not path:
            return [self.name]
        answer = await self.context.request(path[0], "go", {"path": path[1:]}, timeout_seconds=30)
        return [self.name, *answer.data]


@pytest.mark.spec("R37")
def test_a_to_b_to_a_is_answered(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": Node, "b": Node}) as runtime:
            answer = await runtime.request("a", "go", {"path": ["b", "a", "b"]}, timeout_seconds=5)
            assert answer.data == ["a", "b", "a", "b"]

    run(main)


@pytest.mark.spec("R37")
def test_a_real_circle_is_an_error_with_the_names_on_it(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": Node, "b": Node}) as runtime:
            began = time.monotonic()
            answers = await asyncio.gather(
                runtime.request("a", "go", {"path": ["b"], "meet": "m"}, timeout_seconds=10),
                runtime.request("b", "go", {"path": ["a"], "meet": "m"}, timeout_seconds=10),
                return_exceptions=True,
            )
            assert time.monotonic() - began < 1
            await check_deadlock(runtime, answers)

    run(main)


async def check_deadlock(runtime: AgentRuntime, answers: Sequence[Any]) -> None:
    """One of two callers whose requests wait for each other hears of the circle, the other gets its answer."""
    errors = [a for a in answers if isinstance(a, BaseException)]
    assert errors and all(getattr(e, "error_type", "") in ("DeadlockError", "RequestFailedError") for e in errors), (
        answers
    )
    await until(lambda: runtime.query_events("deadlock_detected"))
    (event,) = [e for e in runtime.query_events() if e.event_type == "deadlock_detected"]
    assert event.details["cycle"] in (["a", "b", "a"], ["b", "a", "b"])
    assert any(" -> ".join(event.details["cycle"]) in str(e) for e in errors)


@pytest.mark.spec("R37")
def test_the_handler_that_closes_the_circle_can_catch_the_error(url: str, run: Run) -> None:
    caught: list[DeadlockError] = []

    class Careful(Node):
        async def on_message(self, message: Any) -> Any:
            try:
                return await super().on_message(message)
            except DeadlockError as error:
                caught.append(error)
                return [self.name, "gave up"]

    async def main() -> None:
        async with running(url, {"a": Careful, "b": Careful}) as runtime:
            answers = await asyncio.gather(
                runtime.request("a", "go", {"path": ["b"], "meet": "m"}, timeout_seconds=10),
                runtime.request("b", "go", {"path": ["a"], "meet": "m"}, timeout_seconds=10),
            )
            (error,) = caught
            assert set(error.cycle) == {"a", "b"} and error.cycle[0] == error.cycle[-1]
            assert sorted(len(a.data) for a in answers) == [2, 2] or sorted(map(len, (a.data for a in answers))) == [
                2,
                3,
            ]

    run(main)


@pytest.mark.spec("R37")
def test_a_circle_over_two_nodes_is_found_within_two_seconds(store_url: str, run: Run) -> None:
    caught: list[DeadlockError] = []

    class Careful(Node):
        async def on_message(self, message: Any) -> Any:
            try:
                return await super().on_message(message)
            except DeadlockError as error:
                caught.append(error)
                raise

    async def main() -> None:
        async with running(store_url, {"a": Careful}) as first, running(store_url, {"b": Careful}) as second:
            answer = await first.request("a", "go", {"path": ["b", "a"]}, timeout_seconds=5)
            assert answer.data == ["a", "b", "a"]
            await until(lambda: second.list_agents("running"))
            began = time.monotonic()
            answers = await asyncio.gather(
                first.request("a", "go", {"path": ["b"], "meet": "m"}, timeout_seconds=10),
                second.request("b", "go", {"path": ["a"], "meet": "m"}, timeout_seconds=10),
                return_exceptions=True,
            )
            assert time.monotonic() - began < 2
            (error,) = caught  # one error breaks the circle
            assert set(error.cycle) == {"a", "b"} and error.cycle[0] == error.cycle[-1]
            await check_deadlock(first, answers)

    run(main)
