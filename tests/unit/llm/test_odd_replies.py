"""Models that answer what no run can keep: half characters, texts that are none, a usage below zero."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.errors import ModelUnavailableError
from shoal.kernel.budget import Budget
from shoal.kernel.usage import Usage
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest, ToolCall


class Odd:
    """A model that says *replies*, one after the other, each first in *pieces*."""

    name = "odd"

    def __init__(self, *replies: Any, pieces: tuple[str, ...] = ()) -> None:
        self.replies = list(replies)
        self.pieces = pieces
        self.asked: list[ModelRequest] = []

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        self.asked.append(request)
        reply: ModelReply = self.replies.pop(0)
        return reply

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces."""
        for piece in self.pieces:
            yield ModelDelta(text=piece)
        yield await self.request(request)

    def price(self, usage: Usage) -> int | None:
        """What it says itself."""
        return usage.cost_pico


def _say(x: str = "") -> str:
    return f"heard {x}"


def test_half_characters_are_no_error_and_cost_no_call_twice(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            calls = (
                ToolCall(call_id="1", name="_say", arguments='{"x": "\ud800"}'),
                ToolCall(call_id="2", name="\ud801"),
            )
            model = Odd(ModelReply(tool_calls=calls), ModelReply(text="a\ud83d\ude00b\ud800"), pieces=("\ud83d", "b"))
            handle = runtime.run(Agent(name="Ann", model=model, tools=[_say]), "x", run_id="r")
            result = await handle
            assert result.content == "a\N{GRINNING FACE}b\N{REPLACEMENT CHARACTER}"
            assert [call.success for call in result.tool_calls] == [True, False]
            events = [event async for event in runtime.runs.events("r")]
            assert [event.offset for event in events] == list(range(1, len(events) + 1))
            again = await runtime.run(Agent(name="Ann", model=model, tools=[_say]), "x", run_id="r")
            assert (again.content, len(model.asked)) == (result.content, 2)

    run(main)


@pytest.mark.parametrize("reply", [None, "text", ModelReply(text=None), ModelReply(finish_reason=3)])  # type: ignore[arg-type]
def test_what_is_no_reply_is_an_error_of_the_model(reply: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        with pytest.raises(ModelUnavailableError, match="odd"):
            await Agent(name="Ann", model=Odd(reply), retries=0).chat("x")
        assert (await Agent(name="Ann", model=Odd(reply, ModelReply(text="ok")), retries=1).chat("x")).content == "ok"

    run(main)


def test_a_usage_below_zero_gives_nothing_back_to_a_budget(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db") as runtime:
            usage = Usage(calls=-5, input_tokens=-1000, cost_pico=-(10**12))
            agent = Agent(name="Ann", model=Odd(ModelReply(text="a", usage=usage)))
            result = await runtime.run(agent, "x", run_id="r", budget=Budget(max_calls=3))
            account = await runtime.store.runs.account("r")
            assert result.usage.cost_pico == 0 and result.usage.lost_calls == 1
            assert (account.used.calls, account.used.tokens >= 0, account.used.cost_pico) == (1, True, 0)

    run(main)
