"""A function that asks agents makes no call itself: under a budget, and when it is cut off, only theirs count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.kernel.budget import Budget
from shoal.llm import echo
from shoal.orchestration import Pipeline, as_agent, call


def _asks(name: str, latency: float = 0.0) -> Any:
    async def ask(message: str) -> str:
        return (await Agent(name="Inner", model=echo(latency=latency)).chat(message)).content

    return as_agent(ask, name=name)


@pytest.mark.parametrize("deep", [1, 3])
def test_every_call_of_a_budget_can_be_made(deep: int, tmp_path: Path, run: Callable[..., Any]) -> None:
    def wrapped(agent: Any, level: int) -> Any:
        async def ask(message: str) -> str:
            return (await call(agent, message, key="inner")).content

        return agent if level == 1 else wrapped(as_agent(ask, name=f"{agent.name}+"), level - 1)

    async def main() -> None:
        line = Pipeline([wrapped(_asks(f"a{number}"), deep) for number in range(4)])
        whole = await line.run("x", budget=Budget(max_calls=4))
        assert (whole.success, whole.usage.calls) == (True, 4)
        short = await line.run("x", budget=Budget(max_calls=3))
        assert (short.stopped, len(short.steps), short.usage.calls) == ("budget", 3, 3)
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            stored = await runtime.run(line, "x", run_id="r", budget=Budget(max_calls=4))
            account = await runtime.store.runs.account("r")
            assert (stored.success, account.spent.calls, account.held.calls, account.lost.calls) == (True, 4, 0, 0)

    run(main)


def test_a_call_that_is_cut_off_within_a_function_is_lost_once(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        line = Pipeline([_asks("a", latency=50)], step_timeout=0.2)
        assert (await line.run("x", budget=Budget(max_calls=9))).usage.lost_calls == 1
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            result = await runtime.run(line, "x", run_id="r", budget=Budget(max_calls=9))
            account = await runtime.store.runs.account("r")
            assert (result.usage.lost_calls, account.lost.calls, account.held.calls) == (1, 1, 0)
            assert runtime.runs.get("r").usage == result.usage

    run(main)
