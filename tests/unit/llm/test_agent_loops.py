"""Tool calls that go in circles; all calls of a reply at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import Agent, LoopLimits, tool
from shoal.errors import LoopDetectedError
from shoal.kernel.starting import live_in_memory
from shoal.llm import scripted
from shoal.llm.looping import LoopGuard
from shoal.llm.model import ModelReply, ToolCall
from shoal.testing.clock import VirtualClock
from tests.support.speakers import virtual
from tests.unit.llm.agents import asks, call, keeping

Run = Callable[..., Any]


@pytest.mark.spec("O40")
def test_the_same_call_is_refused_the_third_time_and_ends_the_chat_the_fourth(run: Run) -> None:
    async def main() -> None:
        ran: list[int] = []

        @tool
        def look(at: int, near: int) -> str:
            ran.append(at)
            return "nothing"

        same = '{"at": 1, "near": 2}'
        replies = [
            ToolCall(call_id="a", name="look", arguments=text) for text in (same, '{"near":2,"at":1}', same, same)
        ]
        model, seen = keeping(*replies)
        agent = Agent(name="Ann", model=model, tools=[look])
        live = live_in_memory("test")
        with live.root.entered(), pytest.raises(LoopDetectedError, match=r"same_call.*look") as caught:
            await agent.chat("go")
        assert (caught.value.kind, ran) == ("same_call", [1, 1])
        assert "Refused: look was called with these arguments 2 times" in asks(seen[3])[-1]
        live.feed.close()
        (event,) = [event async for event in live.feed.follow() if event.type == "loop_detected"]
        assert (event.agent_name, event.data["kind"]) == ("Ann", "same_call")

    run(main)


@pytest.mark.spec("O40")
def test_the_eleventh_call_of_a_reply_is_refused(run: Run) -> None:
    async def main() -> None:
        @tool
        def look(at: int) -> int:
            return at

        model, seen = keeping(tuple(call("look", number, at=number) for number in range(12)), "done")
        result = await Agent(model=model, tools=[look]).chat("go")
        assert [record.success for record in result.tool_calls] == [True] * 10 + [False] * 2
        assert [message.call_id for message in seen[1].messages[2:]] == [f"look-{number}" for number in range(12)]
        assert "at most 10 tool calls" in seen[1].messages[-1].content

    run(main)


@pytest.mark.spec("O40")
def test_the_thirty_first_call_ends_the_chat(run: Run) -> None:
    async def main() -> None:
        ran: list[int] = []

        @tool
        def look(at: int) -> int:
            ran.append(at)
            return at

        replies = [tuple(call("look", at=at) for at in range(begin, begin + 10)) for begin in (0, 10, 20)]
        agent = Agent(model=scripted([*replies, call("look", at=30)]), tools=[look])
        with pytest.raises(LoopDetectedError, match=r"tool_calls.*31 tool calls"):
            await agent.chat("go")
        assert sorted(ran) == list(range(30))
        thirty = Agent(model=scripted([*replies, "done"]), tools=[look])
        assert (await thirty.chat("go")).content == "done"

    run(main)


def test_other_limits_are_held() -> None:
    guard = LoopGuard(LoopLimits(max_same_call=1, max_tool_calls_per_reply=2, max_tool_calls=3))
    assert guard.refusals([call("a"), call("b"), call("c")])[:2] == [None, None]
    assert guard.refusals([call("a")])[0] is not None
    with pytest.raises(LoopDetectedError, match="same_call"):
        guard.refusals([call("a")])
    assert guard.refusals([ToolCall(call_id="x", name="d", arguments="no JSON")]) == [None]
    with pytest.raises(LoopDetectedError, match="tool_calls"):
        guard.refusals([call("e")])


def test_all_calls_of_a_reply_run_at_once_and_answer_in_their_order() -> None:
    async def main(clock: VirtualClock) -> None:
        ended: list[int] = []

        @tool
        async def wait(seconds: int) -> int:
            await clock.sleep(seconds)
            ended.append(seconds)
            return seconds

        model, seen = keeping(tuple(call("wait", number, seconds=number) for number in (3, 1, 2)), "done")
        result = await Agent(model=model, tools=[wait]).chat("go")
        assert clock.monotonic() == 3.0
        assert ended == [1, 2, 3]
        assert [record.content for record in result.tool_calls] == ["3", "1", "2"]
        assert asks(seen[1])[2:] == ["tool: 3", "tool: 1", "tool: 2"]

    virtual(main)


def test_cancelling_a_chat_cancels_its_tools() -> None:
    async def main(clock: VirtualClock) -> None:
        cancelled: list[int] = []

        @tool
        async def wait(seconds: int) -> None:
            try:
                await clock.sleep(seconds)
            except asyncio.CancelledError:
                cancelled.append(seconds)
                raise

        chat = asyncio.ensure_future(
            Agent(model=scripted([(call("wait", 1, seconds=50), call("wait", 2, seconds=60))]), tools=[wait]).chat("go")
        )
        await clock.sleep(1)
        chat.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chat
        assert sorted(cancelled) == [50, 60]
        assert len(asyncio.all_tasks()) == 1

    virtual(main)


def test_a_tool_s_error_and_an_unknown_tool_go_to_the_model(run: Run) -> None:
    async def main() -> None:
        @tool
        def fail() -> None:
            raise ValueError("no such city")

        model, seen = keeping((call("fail"), call("fial")), "sorry")
        result = await Agent(model=model, tools=[fail]).chat("go")
        assert result.content == "sorry"
        assert "no such city" in asks(seen[1])[2]
        assert "fail" in asks(seen[1])[3] and "there is no tool 'fial'" in asks(seen[1])[3]

    run(main)


def test_text_beside_tool_calls_is_kept(run: Run) -> None:
    async def main() -> None:
        @tool
        def look() -> int:
            return 1

        model, seen = keeping(ModelReply(text="I look", tool_calls=(call("look"),)), "done")
        await Agent(model=model, tools=[look]).chat("go")
        assert asks(seen[1]) == ["user: go", "assistant: I look", "tool: 1"]

    run(main)
