"""What counts as an agent: each kind is accepted, run, and given what it asks for."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shoal import AgentProtocol, Task
from shoal.errors import AgentStateError, NoHandlerError
from tests.support.backend import fresh_store
from tests.support.runtimes import running

pytestmark = pytest.mark.usefixtures("backend")

Run = Callable[..., Any]


class OnlyExecute:
    async def execute_task(self, task: Task) -> Any:
        return ["class", task.input_data["n"]]


class WithConfig:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    async def execute_task(self, task: Task) -> Any:
        return [self.config["word"], self.name, self.context.agent_id == self.agent_id]  # type: ignore[attr-defined]


class Plain:
    def execute_task(self, task: Task) -> Any:
        return ["sync method", threading.current_thread() is threading.main_thread()]


async def function(task: Task) -> Any:
    return ["async function", task.name]


async def function_with_context(task: Task, context: Any) -> Any:
    return [context.name, context.task.name]


def sync_function(task: Task) -> Any:
    return ["sync", threading.current_thread() is threading.main_thread()]


def sync_with_context(task: Task, context: Any) -> Any:
    return [context.name, context.task.name, context.is_stopping()]


class Chats:
    name = "its own name"

    async def chat(self, message: str) -> Any:
        return SimpleNamespace(content=f"you said {message}")


class ChatsInThread:
    def chat(self, message: str) -> str:
        return message.upper()


class Calls:
    async def __call__(self, task: Task) -> Any:
        return ["callable", task.name]


class Bound:
    async def method(self, task: Task) -> Any:
        return ["bound", task.name]


async def more(word: str, task: Task) -> Any:
    return [word, task.name]


def kinds() -> dict[str, tuple[Any, Any]]:
    """Each kind of agent, made anew, and what its task returns."""
    return {
        "class": (OnlyExecute, ["class", 1]),
        "class with config": (WithConfig, ["hello", "a", True]),
        "class with sync method": (Plain, ["sync method", False]),
        "object": (OnlyExecute(), ["class", 1]),
        "async function": (function, ["async function", "t"]),
        "async function with context": (function_with_context, ["a", "t"]),
        "sync function": (sync_function, ["sync", False]),
        "sync function with context": (sync_with_context, ["a", "t", False]),
        "chat object": (Chats(), {"content": "you said hi"}),
        "chat class": (Chats, {"content": "you said hi"}),
        "sync chat object": (ChatsInThread(), {"content": "HI"}),
        "callable object": (Calls(), ["callable", "t"]),
        "bound method": (Bound().method, ["bound", "t"]),
        "partial": (functools.partial(more, "partly"), ["partly", "t"]),
        "lambda": (lambda task: ["lambda", task.name], ["lambda", "t"]),
    }


@pytest.mark.spec("R27")
@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_each_kind_is_accepted_and_run(run: Run, kind: str, isolation: str) -> None:
    source, wanted = kinds()[kind]

    async def main() -> None:
        async with running(fresh_store()) as runtime:
            await runtime.register_agent("a", source, {"word": "hello"}, isolation=isolation)  # type: ignore[arg-type]
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("t", {"n": 1, "message": "hi"}, agent="a")
            assert (await runtime.wait_for_task(task_id, 20)).result() == wanted
            await runtime.stop_agent("a")

    run(main)


@pytest.mark.spec("R27")
def test_an_object_keeps_its_own_name_and_stays_itself(run: Run) -> None:
    agent = Chats()

    async def main() -> None:
        async with running(fresh_store(), {"registered": agent}):
            assert agent.name == "its own name"

    run(main)


def test_only_on_message_takes_no_tasks_and_only_execute_answers_nothing(run: Run) -> None:
    class Listens:
        async def on_message(self, message: Any) -> Any:
            return message.data

    async def main() -> None:
        async with running(fresh_store(), {"ear": Listens, "worker": OnlyExecute}) as runtime:
            assert (await runtime.request("ear", "ask", 1)).data == 1
            with pytest.raises(AgentStateError, match="takes no tasks"):
                await runtime.submit_task("t", agent="ear")
            with pytest.raises(NoHandlerError):
                await runtime.request("worker", "ask", 1)
            await asyncio.sleep(0)

    run(main)


def test_the_protocol_asks_for_execute_task_alone() -> None:
    assert isinstance(OnlyExecute(), AgentProtocol)
    assert not isinstance(object(), AgentProtocol)
