"""Durable messages over ``kill -9``, and what becomes of those that cannot be handled."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, Task, TaskStatus
from tests.support.facts import all_events
from tests.support.processes import script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "mail_rounds.py"
MESSAGES, KILLS = 1000, 20


def acknowledged(file: Path) -> set[str]:
    """Return the ids of the messages whose acknowledgement is on disk, as another program sees it."""
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT details FROM events WHERE event_type = 'message_received'").fetchall()
    finally:
        connection.close()
    return {str(details).partition('"message_id":"')[2].partition('"')[0] for (details,) in rows}


@pytest.mark.long
@pytest.mark.spec("R39")
def test_durable_mail_over_twenty_kills(tmp_path: Path, run: Run, seed: int) -> None:
    file, diary = tmp_path / "shoal.db", tmp_path / "diary"
    diary.touch()
    chance = random.Random(seed)

    async def send() -> list[str]:
        async with AgentRuntime(file) as runtime:
            await runtime.register_agent("clerk", Clerk)
            sends = [runtime.send_message(["clerk"], "note", n, durable=True) for n in range(MESSAGES)]
            return await asyncio.gather(*sends)

    sent = run(send)
    again = 0
    for _ in range(KILLS):
        with script(SCRIPT, str(file), str(diary)) as node:
            node.hear()
            begun = diary.stat().st_size
            deadline = time.monotonic() + 5
            while diary.stat().st_size == begun and len(acknowledged(file)) < MESSAGES and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.02)
            node.signal(signal.SIGKILL)
            node.process.wait()
        done, lines = acknowledged(file), diary.read_text().splitlines()
        with diary.open("a") as out:
            out.write("kill\n")
        before = [line.split()[1] for line in lines if line != "kill"]
        assert done <= set(before)
        again = check_not_handled_again(diary, done, again)

    done = acknowledged(file)  # not while a runtime of this process has the file open

    async def finish() -> None:
        async with running(f"sqlite:///{file}") as runtime:
            heard: list[str] = []

            class Last(BaseAgent):
                async def on_message(self, message: Any) -> None:
                    heard.append(message.message_id)

            assert 0 < len(done) < MESSAGES
            await runtime.register_agent("clerk", Last)
            await runtime.start_agent("clerk")
            await until(lambda: len(runtime.query_events("message_received", limit=10_000)) >= MESSAGES)
            assert set(heard) == set(sent) - done, "none lost, none handled again after its acknowledgement"
            assert runtime.dead_letters() == []
            received = Counter(
                event.details["message_id"] for event in all_events(runtime) if event.event_type == "message_received"
            )
            assert received == Counter(sent), "each acknowledged once"

    run(finish)


CHECKED: dict[str, set[str]] = {}


def check_not_handled_again(diary: Path, done: set[str], lives: int) -> int:
    """See that no life handled what had been acknowledged at the end of the one before it; return how many there were."""
    known = CHECKED.setdefault(str(diary), set())
    last = diary.read_text().split("kill\n")[lives]
    handled = {line.split()[1] for line in last.splitlines()}
    assert handled, "each kill strikes while mail is handled"
    assert not handled & known, "handled again after its acknowledgement"
    known |= done
    return lives + 1


class Clerk(BaseAgent):
    async def on_message(self, message: Any) -> None:
        raise AssertionError("it is never started here")


@pytest.mark.spec("R39")
@pytest.mark.parametrize("takes", ["on_message", "task"])
def test_five_failures_make_a_dead_letter_that_can_be_redelivered(store_url: str, run: Run, takes: str) -> None:
    seen: list[int] = []
    broken = [True]

    class Handles(BaseAgent):
        async def on_message(self, message: Any) -> None:
            seen.append(message.delivery_count)
            if broken[0]:
                raise OSError("not today")

    class Pulls(BaseAgent):
        async def execute_task(self, task: Task) -> None:
            for message in await self.context.receive_messages(block=True, timeout_seconds=20):
                seen.append(message.delivery_count)
                if broken[0]:
                    raise OSError("not today")

    async def main() -> None:
        async with running(store_url, poll_seconds=0.1) as runtime:
            await runtime.register_agent("a", Handles if takes == "on_message" else Pulls)
            message_id = await runtime.send_message(["a"], "note", "hello", durable=True)  # it is not started yet
            await runtime.start_agent("a")

            async def pull(times: int) -> None:
                for _ in range(times if takes == "task" else 0):
                    await runtime.wait_for_task(await runtime.submit_task("pull"), timeout_seconds=30)

            began = time.monotonic()
            await pull(5)
            await until(lambda: runtime.dead_letters())
            assert seen == [1, 2, 3, 4, 5]
            assert time.monotonic() - began >= 0.5 + 1 + 2 + 4, "each time later"
            (letter,) = runtime.dead_letters()
            assert (letter.reason, letter.message.message_id, letter.message.data) == ("failures", message_id, "hello")
            assert "not today" in (letter.error or "")
            assert len(runtime.query_events("message_dead_lettered")) == 1
            broken[0] = False
            await runtime.redeliver(message_id)
            await pull(1)
            await until(lambda: runtime.query_events("message_received"))
            assert seen == [1, 2, 3, 4, 5, 1] and runtime.dead_letters() == []
            assert runtime.list_tasks("running") == []

    run(main)


@pytest.mark.spec("R39")
def test_a_completed_task_acknowledges_what_it_pulled_and_ack_does_it_at_once(store_url: str, run: Run) -> None:
    class Pulls(BaseAgent):
        async def execute_task(self, task: Task) -> Any:
            mail = await self.context.receive_messages(block=True, timeout_seconds=5)
            if task.name == "ack":
                await self.context.ack(mail[0])
            return [message.data for message in mail]

    async def main() -> None:
        async with running(store_url, {"a": Pulls}) as runtime:
            for name in ("ack", "complete"):
                await runtime.send_message(["a"], "note", name, durable=True)
                task = await runtime.wait_for_task(await runtime.submit_task(name), 10)
                assert (task.status, task.output_data) == (TaskStatus.COMPLETED, [name])
            assert len(runtime.query_events("message_received")) == 2
            await runtime.stop_agent("a")
            await runtime.start_agent("a")
            assert runtime.get_agent_status("a").mailbox_size == 0

    run(main)
