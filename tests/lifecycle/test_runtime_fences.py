"""A node that was cut off hears late what became of its writes. What it hears after its lease is no leave to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from shoal import AgentRuntime, BaseAgent, Task
from shoal.errors import LeaseLostError
from shoal.kernel.env import Env
from shoal.orchestration import Pipeline


def _env(runtime: AgentRuntime) -> Env:
    assert runtime._env is not None
    return runtime._env


class Ticker(BaseAgent):
    """Asks the store, and then does something."""

    said: list[str]
    then: Callable[[Env], None]
    runtime: AgentRuntime

    async def execute_task(self, task: Task) -> None:
        type(self).then(_env(self.runtime))
        try:
            await self.context.checkpoint({"at": 1})
        except LeaseLostError:
            self.said.append("refused")
            raise
        self.said.append("too soon" if _env(self.runtime).lease_over() else "done")


def _late(env: Env, then: Callable[[], None]) -> None:
    """Let the next checkpoint of a task be written, and its answer come when *then* has been called."""
    tasks: Any = env.store.tasks
    write = tasks.checkpoint

    async def answer(writing: Awaitable[None]) -> None:
        await writing
        then()

    def checkpoint(*args: Any, **given: Any) -> Awaitable[None]:
        del tasks.checkpoint
        return answer(write(*args, **given))

    tasks.checkpoint = checkpoint


def _over(env: Env) -> None:
    env.lease_until = env.clock.now() - timedelta(seconds=1)


def _lost(env: Env) -> None:
    _over(env)
    env.lost = True


async def _worked(store: str, then: Callable[[Env], None]) -> list[str]:
    said: list[str] = []
    async with AgentRuntime(store=store, config={"lease_seconds": 1.0}) as runtime:
        agent = type("Ticking", (Ticker,), {"said": said, "runtime": runtime, "then": staticmethod(then)})
        await runtime.start_agent(await runtime.register_agent("ticker", agent))
        await runtime.submit_task("tick")
        while not said:
            await asyncio.sleep(0.01)
        _env(runtime).lost = False
    return said


def test_an_answer_after_the_lease_was_lost_is_an_error(store_url: str, run: Callable[..., Any]) -> None:
    said = run(lambda: _worked(store_url, lambda env: _late(env, lambda: _lost(env))))
    assert said[0] == "refused"


def test_an_answer_after_the_lease_waits_until_a_heartbeat_has_renewed_it(
    store_url: str, run: Callable[..., Any]
) -> None:
    def later(env: Env) -> None:
        _late(env, lambda: _over(env))

    assert run(lambda: _worked(store_url, later)) == ["done"]


class Stage:
    """Says that it was asked."""

    def __init__(self, name: str, said: list[str], then: Callable[[], None]) -> None:
        self.name = name
        self._said = said
        self._then = then

    async def chat(self, message: str) -> str:
        self._said.append(self.name)
        self._then()
        return message


def test_a_run_begins_no_step_after_the_lease(store_url: str, run: Callable[..., Any]) -> None:
    said: list[str] = []

    async def main() -> None:
        async with AgentRuntime(store=store_url, config={"lease_seconds": 1.0}) as runtime:
            first = Stage("first", said, lambda: _lost(_env(runtime)))
            handle = runtime.run(Pipeline([first, Stage("second", said, lambda: None)]), "go", run_id="r")
            try:
                await handle
            except LeaseLostError:
                said.append("refused")
            _env(runtime).lost = False

    run(main)
    assert said == ["first", "refused"]
