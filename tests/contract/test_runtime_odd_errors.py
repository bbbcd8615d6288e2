"""Whatever an agent's code raises, its task ends, its lane comes free, its asker hears, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, Task, TaskStatus
from shoal.errors import RequestFailedError, TaskInterruptedError
from shoal.kernel.failure import Failure


class Odd(BaseException):
    """An error that is no Exception."""


class Broken(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


async def own_cancellation() -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone


async def raises(error: BaseException) -> None:
    raise error


ODD: dict[str, Callable[[], Any]] = {
    "GeneratorExit": lambda: raises(GeneratorExit()),
    "SystemExit": lambda: raises(SystemExit(3)),
    "Odd": lambda: raises(Odd("odd")),
    "Broken": lambda: raises(Broken()),
    "FileNotFoundError": lambda: raises(FileNotFoundError("file \udcff")),
    "CancelledError": own_cancellation,
}


class Raiser(BaseAgent):
    async def execute_task(self, task: Task) -> str:
        if "odd" in task.input_data:
            await ODD[task.input_data["odd"]]()
        return "well"

    async def on_message(self, message: Any) -> None:
        await ODD[message.data]()


def stop_iteration(task: Task) -> str:
    if task.input_data:
        raise StopIteration
    return "well"


@pytest.mark.parametrize("isolation", ["inline", "thread"])
@pytest.mark.parametrize("name", ODD)
def test_the_task_fails_and_the_lane_comes_free(url: str, run: Any, name: str, isolation: Any) -> None:
    async def main() -> None:
        async with AgentRuntime(store=url) as runtime:
            await runtime.register_agent("raiser", Raiser, isolation=isolation)
            await runtime.start_agent("raiser")
            odd = await runtime.wait_for_task(await runtime.submit_task("odd", {"odd": name}), 10)
            assert (odd.status, odd.error_type, odd.attempt) == (TaskStatus.FAILED, name, 1)
            well = await runtime.wait_for_task(await runtime.submit_task("well"), 10)
            assert well.output_data == "well"

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_stop_iteration_of_synchronous_code_is_an_error(url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with AgentRuntime(store=url) as runtime:
            await runtime.register_agent("sync", stop_iteration, isolation=isolation)
            await runtime.start_agent("sync")
            odd = await runtime.wait_for_task(await runtime.submit_task("odd", {"odd": 1}), 10)
            assert (odd.status, odd.error_type) == (TaskStatus.FAILED, "RuntimeError")
            assert (await runtime.wait_for_task(await runtime.submit_task("well"), 10)).output_data == "well"

    run(main)


@pytest.mark.parametrize("name", ODD)
def test_the_asker_hears_at_once(url: str, run: Any, name: str) -> None:
    async def main() -> None:
        async with AgentRuntime(store=url) as runtime:
            await runtime.register_agent("raiser", Raiser)
            await runtime.start_agent("raiser")
            with pytest.raises(RequestFailedError) as heard:
                await runtime.request("raiser", "q", name, timeout_seconds=10)
            assert heard.value.error_type == name

    run(main)


class Slow(BaseAgent):
    """Its on_error takes long and does not want to end."""

    began: asyncio.Event

    async def execute_task(self, task: Task) -> str:
        if task.input_data:
            raise ValueError("first")
        return "well"

    async def on_error(self, error: BaseException, task: Task | None) -> None:
        self.config["began"] = True
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                return


def test_a_stop_during_on_error_keeps_the_outcome(url: str, run: Any) -> None:
    async def main() -> None:
        async with AgentRuntime(store=url, config={"cancel_grace_seconds": 1}) as runtime:
            slow = Slow()
            await runtime.register_agent("slow", slow)
            await runtime.start_agent("slow")
            task_id = await runtime.submit_task("odd", {"odd": 1})
            while "began" not in slow.config:
                await asyncio.sleep(0.01)
            await runtime.stop_agent("slow", timeout_seconds=0.1)
            task = await runtime.wait_for_task(task_id, 10)
            assert (task.status, task.error_type, task.error_message) == (TaskStatus.FAILED, "ValueError", "first")

    run(main)


def test_an_agent_that_always_asks_to_be_run_again_ends_failed(url: str, run: Any) -> None:
    async def always(task: Task) -> None:
        raise TaskInterruptedError("not now")

    async def main() -> None:
        async with AgentRuntime(store=url, config={"max_interruptions": 4}) as runtime:
            await runtime.register_agent("always", always)
            await runtime.start_agent("always")
            task = await runtime.wait_for_task(await runtime.submit_task("t"), 10)
            assert (task.status, task.error_type, task.attempt) == (TaskStatus.FAILED, "TaskInterruptedError", 4)

    run(main)


def test_a_failure_is_always_describable() -> None:
    assert Failure.of(Broken()).message == "(its text cannot be printed: RuntimeError)"
    assert Failure.of(FileNotFoundError("file \udcff")).message == "file ?"
