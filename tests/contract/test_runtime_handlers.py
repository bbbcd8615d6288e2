"""Handlers of one agent, one after the other: what they share, and what they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from shoal import AgentContext, AgentMessage, BaseAgent, Task, TaskStatus
from tests.support.runtimes import running, until

Run = Callable[..., Any]

seen: ContextVar[str] = ContextVar("seen", default="nothing")


async def answers(url: str, asked: BaseAgent, asker: Callable[[Task, AgentContext], Awaitable[Any]]) -> Any:
    """Return what *asker*, an agent of its own, has as the result of a task, beside an agent ``asked``."""
    async with running(url, {"asked": asked, "asker": asker}) as runtime:
        task = await runtime.wait_for_task(await runtime.submit_task("ask", agent="asker"), 10)
        assert task.status is TaskStatus.COMPLETED, task.error_message
        await until(lambda: not any(each.get_name() == "asked" for each in asyncio.all_tasks()))  # it is idle
        return task.output_data


class Echo(BaseAgent):
    """Answers with what it was asked."""

    async def on_message(self, message: AgentMessage) -> Any:
        return message.data


def test_what_a_handler_sets_in_its_context_the_next_does_not_see(url: str, run: Run) -> None:
    class Marks(BaseAgent):
        async def on_message(self, message: AgentMessage) -> str:
            before = seen.get()
            seen.set(f"message {message.data}")
            await asyncio.sleep(0)
            assert seen.get() == f"message {message.data}"
            return before

    async def asker(task: Task, context: AgentContext) -> list[Any]:
        seen.set("the asker")
        one_by_one = [(await context.request("asked", "ask", number)).data for number in range(3)]
        together = await asyncio.gather(*(context.request("asked", "ask", number) for number in range(3)))
        assert seen.get() == "the asker"
        return [*one_by_one, *(answer.data for answer in together)]

    async def main() -> None:
        assert await answers(url, Marks(), asker) == ["nothing"] * 6

    run(main)


def test_a_question_is_answered_although_the_asyncio_task_of_the_handler_before_is_cancelled(
    url: str, run: Run
) -> None:
    class Cancels(BaseAgent):
        async def on_message(self, message: AgentMessage) -> Any:
            mine = asyncio.current_task()
            assert mine is not None
            asyncio.get_running_loop().call_soon(mine.cancel)  # strikes when this handler has ended
            return message.data

    async def asker(task: Task, context: AgentContext) -> list[Any]:
        return [(await context.request("asked", "ask", number, 5)).data for number in range(10)]

    async def main() -> None:
        assert await answers(url, Cancels(), asker) == list(range(10))

    run(main)


def test_an_asker_that_waits_no_longer_leaves_the_lane_free_for_the_next(url: str, run: Run) -> None:
    class Slow(BaseAgent):
        ended = 0

        async def on_message(self, message: AgentMessage) -> Any:
            try:
                await asyncio.sleep(60 if message.data == "slow" else 0)
            finally:
                Slow.ended += 1
            return message.data

    async def asker(task: Task, context: AgentContext) -> list[Any]:
        got = []
        for turns in range(6):  # cancelled before its handler begins, in its midst, and after it has ended
            await context.request("asked", "ask", "quick", 5)
            for data in ("slow", "quick"):
                asking = asyncio.create_task(context.request("asked", "ask", data, 5))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
            got.append((await context.request("asked", "ask", turns, 5)).data)
        return got

    async def main() -> None:
        assert await answers(url, Slow(), asker) == list(range(6))

    run(main)


def test_two_agents_in_a_long_talk_let_others_have_their_turn(url: str, run: Run) -> None:
    turns = 0
    over = False

    async def count() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    async def asker(task: Task, context: AgentContext) -> int:
        nonlocal over
        counting = asyncio.create_task(count())
        for number in range(500):
            await context.request("asked", "ask", number)
        over = True
        await counting
        return turns

    async def main() -> None:
        assert await answers(url, Echo(), asker) >= 500

    run(main)
