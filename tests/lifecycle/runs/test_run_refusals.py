"""What a store, or a budget, has refused is no outcome: the run is let go, and the same id goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.errors import StoreError, UnpricedModelError
from shoal.kernel.budget import Budget
from shoal.kernel.run import RunStatus
from shoal.kernel.usage import Usage
from shoal.llm import echo, scripted
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest, ToolCall
from shoal.orchestration import Pipeline, as_agent
from tests.support.backend import store_at
from tests.support.runtimes import until


@pytest.mark.parametrize("registered", [False, True])
def test_a_run_that_the_store_cut_short_is_let_go_and_goes_on(
    registered: bool, tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config={"poll_seconds": 0.1}) as runtime:
            database: Any = next(part for part in vars(runtime.store).values() if hasattr(part, "faults"))

            def refuse(point: str) -> None:
                if point == "before_commit":
                    raise OSError(28, "No space left on device")

            async def fill(message: str) -> str:
                database.faults = refuse
                return (await Agent(name="Ann", model=echo()).chat(message)).content

            async def work(message: str) -> str:
                return (await Agent(name="Ann", model=echo()).chat(message)).content

            def whole() -> Any:
                return Pipeline([as_agent(work, name="a")], name="p")

            handle = runtime.run(Pipeline([as_agent(fill, name="a")], name="p"), "x", run_id="r")
            with pytest.raises(StoreError, match="No space left"):
                await handle
            assert handle.status is RunStatus.INTERRUPTED
            assert runtime.runs.get("r").status is RunStatus.RUNNING, "nothing could be written"
            database.faults = None
            if registered:
                runtime.runs.register("p", whole)
                await until(lambda: runtime.runs.get("r").status is RunStatus.COMPLETED)
            else:
                await until(lambda: runtime.runs.get("r").status is RunStatus.INTERRUPTED)
            result = await runtime.run(whole(), "x", run_id="r")
            assert (result.content, result.error) == ("x", None)

    run(main)


class Unpriced:
    """A model whose price nobody knows."""

    name = "unpriced"

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        return ModelReply(text="ok", usage=Usage(input_tokens=1))

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in whole."""
        yield await self.request(request)

    def price(self, usage: Usage) -> int | None:
        """Nobody knows."""
        return None


def test_a_price_that_was_not_known_to_an_agent_within_a_tool_is_no_outcome(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def ask() -> str:
        """Ask somebody."""
        return (await Agent(name="Inner", model=Unpriced()).chat("hi")).content

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            agent = Agent(name="Ann", model=scripted([ToolCall(call_id="1", name="ask"), "done"]), tools=[ask])
            with pytest.raises(UnpricedModelError):
                await runtime.run(agent, "x", run_id="r", budget=Budget(max_cost=1.0))
            result = await runtime.run(agent, "x", run_id="r", budget=Budget(max_cost=1.0, unpriced="allow"))
            assert [(each.name, each.content) for each in result.tool_calls] == [("ask", "ok")]

    run(main)
