"""Answers while they come: in pieces that can be read again from any of them on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shoal import Agent, Usage, tool
from shoal.errors import ModelAuthError, ModelUnavailableError
from shoal.kernel.starting import live_in_memory
from shoal.llm import ChatStream, StreamEvent, echo, scripted
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest
from shoal.testing.clock import VirtualClock
from tests.support.speakers import virtual
from tests.unit.llm.agents import call, keeping

Run = Callable[..., Any]

WORDS = "The quick brown fox jumps over the lazy dog"


async def read(
    stream: ChatStream[Any], most: int | None = None, into: list[StreamEvent] | None = None
) -> list[StreamEvent]:
    """Return the events of a stream, or the first *most* of them."""
    found: list[StreamEvent] = [] if into is None else into
    async with contextlib.aclosing(aiter(stream)) as events:
        async for event in events:
            found.append(event)
            if len(found) == most:
                break
    return found


def text_of(events: list[StreamEvent]) -> str:
    """Return the text that a reader has: that of the highest attempt."""
    last = max(event.attempt for event in events)
    return "".join(event.text for event in events if event.attempt == last)


@pytest.mark.spec("O38")
def test_a_stream_cut_after_every_offset_goes_on_there(run: Run) -> None:
    async def main() -> None:
        @tool
        def look() -> str:
            return "seen"

        def replies() -> Any:
            return scripted([ModelReply(text="I look.", tool_calls=(call("look"),), usage=Usage(calls=1)), WORDS])

        agent = Agent(model=replies(), tools=[look])
        whole = await read(agent.stream("go"))
        assert [event.offset for event in whole] == list(range(1, len(whole) + 1))
        assert [event.kind for event in whole if event.kind != "text"] == ["tool_call", "tool_result", "done"]
        assert text_of(whole) == f"I look.{WORDS}"
        for cut in range(len(whole)):
            stream = Agent(model=replies(), tools=[look])
            first = stream.stream("go")
            begin = await read(first, cut) if cut else []
            rest = await read(stream.stream_again(first.id, after=cut))
            assert [event.offset for event in begin + rest] == list(range(1, len(whole) + 1)), "no gap, no double"
            assert text_of(begin + rest) == text_of(whole)

    run(main)


def test_its_result_is_that_of_a_chat(run: Run) -> None:
    async def main() -> None:
        agent = Agent(model=echo())
        stream = agent.stream(WORDS)
        result = await stream.result()
        assert (result.content, result.finish_reason, result.usage.calls) == (WORDS, "stop", 1)
        assert (await stream).content == WORDS
        assert [message.content for message in await agent.history()] == [WORDS, WORDS]
        assert stream.id.startswith(result.run_id)
        with pytest.raises(LookupError, match="no stream 'nope'"):
            agent.stream_again("nope")

    run(main)


def test_an_error_comes_to_whoever_reads(run: Run) -> None:
    async def main() -> None:
        agent = Agent(model=scripted([ModelAuthError("wrong key")]))
        stream = agent.stream("hi")
        with pytest.raises(ModelAuthError, match="wrong key"):
            await read(stream)
        with pytest.raises(ModelAuthError):
            await stream.result()
        events: list[StreamEvent] = []
        with pytest.raises(ModelAuthError):
            await read(agent.stream_again(stream.id), into=events)
        assert events[-1].kind == "done" and "wrong key" in events[-1].data["error"]["message"]

    run(main)


class Slow:
    """A model that says a word a second, and breaks off after some words as often as it is told to."""

    name = "slow"

    def __init__(self, clock: VirtualClock, breaks: int = 0) -> None:
        self._clock = clock
        self._breaks = breaks
        self.calls = 0

    async def request(self, request: ModelRequest) -> ModelReply:
        raise AssertionError("it is to be streamed")

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        self.calls += 1
        for number, word in enumerate(WORDS.split()):
            if number == 3 and self.calls <= self._breaks:
                raise ModelUnavailableError("the line broke")
            await self._clock.sleep(1)
            yield ModelDelta(text=word + " ")
        yield ModelReply(text=WORDS + " ", usage=Usage(calls=1, output_tokens=9), model="slow")

    def price(self, usage: Usage) -> int | None:
        return 0


def test_an_attempt_that_broke_off_is_begun_anew_and_readers_are_told() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=Slow(clock, breaks=2))
        events = await read(agent.stream("go"))
        assert [event.kind for event in events].count("restart") == 2
        assert [event.offset for event in events] == list(range(1, len(events) + 1))
        assert text_of(events) == WORDS + " "
        assert [event.attempt for event in events] == sorted(event.attempt for event in events)
        result = await agent.stream_again(_id_of(events)).result()
        assert (result.usage.calls, result.usage.lost_calls) == (3, 2)

    virtual(main)


def _id_of(events: list[StreamEvent]) -> str:
    return f"{events[-1].data['result']['run_id']}/Assistant"


def test_what_stands_is_told_again_after_a_restart(run: Run) -> None:
    async def main() -> None:
        class Breaking(Slow):
            def __init__(self) -> None:
                self.calls = 0

            async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
                self.calls += 1
                if self.calls == 1:
                    yield ModelReply(text="First.", tool_calls=(call("look"),), usage=Usage(calls=1))
                elif self.calls == 2:
                    yield ModelDelta(text="Sec")
                    raise ModelUnavailableError("the line broke")
                else:
                    yield ModelDelta(text="Second.")
                    yield ModelReply(text="Second.", usage=Usage(calls=1))

        @tool
        def look() -> str:
            return "seen"

        agent = Agent(model=Breaking(), tools=[look], retries=1)
        live = live_in_memory("test")
        with live.root.entered():
            events = await read(agent.stream("go"))
        assert text_of(events) == "First.Second."
        last = [event.kind for event in events if event.attempt == 2]
        assert last == ["restart", "text", "tool_call", "tool_result", "text", "done"]

    # the wait between the attempts is real here: half a second at most
    run(main)


def test_what_came_is_kept_when_it_is_cancelled() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=Slow(clock))
        stream = agent.stream("go")
        await read(stream, 3)
        await stream.cancel()
        result = await stream.result()
        assert (result.content, result.finish_reason) == ("The quick brown ", "cancelled")
        assert result.usage.lost_calls == 1
        assert [message.content for message in await agent.history()] == ["go", "The quick brown "]
        events = await read(agent.stream_again(stream.id))
        assert events[-1].kind == "done"
        assert len(asyncio.all_tasks()) == 1

    virtual(main)


def test_it_can_be_cancelled_before_anything_came() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=Slow(clock))
        stream = agent.stream("go")
        await stream.cancel()
        result = await stream.result()
        assert (result.content, result.finish_reason) == ("", "cancelled")

    virtual(main)


def test_it_can_be_cancelled_while_a_tool_runs() -> None:
    async def main(clock: VirtualClock) -> None:
        @tool
        async def stuck() -> None:
            await clock.sleep(50)

        model, seen = keeping(ModelReply(text="I look.", tool_calls=(call("stuck"),), usage=Usage(calls=1)), "next")
        agent = Agent(model=model, tools=[stuck])
        stream = agent.stream("go")
        await clock.sleep(1)
        await stream.cancel()
        result = await stream.result()
        assert (result.content, result.finish_reason) == ("I look.", "cancelled")
        assert clock.monotonic() == 1.0
        await agent.chat("and?")
        assert [message.role for message in seen[1].messages] == ["user", "assistant", "tool", "user"]

    virtual(main)


def test_it_goes_on_without_readers_but_not_beyond_the_run_that_asked_for_it() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=Slow(clock))
        stream = agent.stream("outside")
        await read(stream, 1)
        await clock.sleep(20)
        assert (await agent.stream_again(stream.id).result()).content == WORDS + " "

        async def part_of_a_run() -> None:
            with live_in_memory("test").root.entered():
                await read(agent.stream("inside"), 2)

        await asyncio.create_task(part_of_a_run())
        await clock.sleep(0.1)
        assert len(asyncio.all_tasks()) == 1, "no coroutine of the run is left"

    virtual(main)


def test_a_slow_reader_does_not_slow_the_stream() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=Slow(clock))
        stream = agent.stream("go")
        slow = 0
        async for _ in stream:
            slow += 1
            await clock.sleep(10)
        result = await stream.result()
        assert result.duration_ms == 9_000
        assert slow == 10

    virtual(main)


def test_text_is_news_of_a_run(run: Run) -> None:
    async def main() -> None:
        live = live_in_memory("test")
        with live.root.entered():
            await Agent(name="Ann", model=echo()).chat(WORDS)
        live.feed.close()
        events = [event async for event in live.feed.follow()]
        texts = [event for event in events if event.type == "text"]
        assert "".join(event.data["text"] for event in texts) == WORDS
        assert {(event.agent_name, event.path) for event in texts} == {("Ann", "model1")}

    run(main)
