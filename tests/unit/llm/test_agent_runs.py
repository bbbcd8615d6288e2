"""Agents in runs: no text crosses, the same seed gives the same bytes, and a run that died goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shoal import Agent, LoopLimits, tool
from shoal.errors import LoopDetectedError, ModelRateLimitError, ModelUnavailableError
from shoal.kernel.carrying import carry
from shoal.kernel.journal import MemoryRuns
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import RunOrder
from shoal.kernel.scope import Scope
from shoal.kernel.starting import live_in_memory, new_record, start_in_memory
from shoal.llm import ChatResult, scripted
from shoal.llm.memory import Summarize
from shoal.llm.model import ModelRequest
from shoal.testing.clock import VirtualClock
from tests.support.replay import check_every_death, check_many_deaths, without_times
from tests.support.speakers import Calls, virtual
from tests.unit.llm.agents import call

Run = Callable[..., Any]


@pytest.mark.spec("O49")
def test_a_thousand_chats_of_one_agent_in_a_thousand_runs_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        def say(request: ModelRequest) -> Any:
            last = request.messages[-1]
            if last.role == "user" and request.ordinal % 2 == 0:
                return call("double", number=int(last.content.split()[-1]))
            return f"{request.messages[0].content}|{last.content}"

        @tool
        async def double(number: int) -> int:
            await clock.sleep(number % 7)
            return 2 * number

        agent = Agent(model=scripted({"": say}, latency=0.1, cost=0.001), tools=[double])

        async def one(number: int) -> list[str]:
            live = live_in_memory("test")
            with live.root.entered():
                first = await agent.chat(f"My number is {number}")
                second = await agent.chat(f"And {number}")
            assert live.usage.cost_pico == first.usage.cost_pico + second.usage.cost_pico == 4 * 10**9
            return [first.content, second.content]

        said = await asyncio.gather(*(one(number) for number in range(1000)))
        start = "My number is"
        assert said == [[f"{start} {n}|{2 * n}", f"{start} {n}|{2 * n}"] for n in range(1000)]

    virtual(main)


def chatty(calls: Calls) -> Agent[Any]:
    """Return an agent that takes two tools, a nested agent, a retry and a summary for its answer."""

    def count(request: ModelRequest) -> None:
        calls.made.append((calls.life, request.key.partition("/")[2].rpartition("/")[0], request.messages[-1].content))

    def saying(*replies: Any) -> Any:
        def say(reply: Any) -> Any:
            def said(request: ModelRequest) -> Any:
                count(request)
                if isinstance(reply, list):
                    return reply[min(request.attempt, len(reply)) - 1]
                return reply

            return said

        return scripted([say(reply) for reply in replies], cost=0.01)

    @tool
    async def add(a: int, b: int) -> int:
        return a + b

    helper = Agent(name="Helper", model=saying("inner words", "more inner words"))
    limited = ModelRateLimitError("slow", retry_after=3)
    return Agent(
        name="Chief",
        role="Leads.",
        model=saying(
            [ModelUnavailableError("500"), limited, (call("add", a=1, b=2), call("Helper", message="help"))],
            call("add", a=3, b=4),
            "all done",
        ),
        tools=[add, helper.as_tool()],
        memory=Summarize(keep=2, over=4),
    )


@pytest.mark.spec("O49")
def test_two_runs_under_one_seed_are_byte_equal() -> None:
    def once() -> tuple[bytes, list[Any], list[bytes]]:
        calls = Calls()
        seen: list[bytes] = []

        async def main(clock: VirtualClock) -> tuple[Any, list[str], list[Any]]:
            agent = chatty(calls)
            live = _live(clock)
            result = await carry(live, agent, "go", user_id="u", context="c")
            seen.extend(msgspec.json.encode(event) for event in [e async for e in live.feed.follow()])
            return result, list(live.recorded), [step.input_sha256 for step in live.recorded.values()]

        result, keys, digests = virtual(main, seed=5)
        return msgspec.json.encode(result), [keys, digests], seen

    assert once() == once()


def _live(clock: VirtualClock) -> LiveRun:
    runs = MemoryRuns()
    record = new_record("Chief", "go", clock, run_id="r", seed=3)
    begun = runs.begin(RunOrder(record=record, node_id="memory"), now=clock.now()).result()
    return LiveRun(runs, begun, clock)


def test_a_run_that_died_anywhere_goes_on_where_it_was() -> None:
    assert check_every_death(chatty, "go") > 20


def test_a_run_that_died_again_and_again_is_the_same() -> None:
    check_many_deaths(chatty, "go", [5, 3, 3, 7, 4, 2, 6])


def test_recorded_failures_are_not_waited_for_again() -> None:
    async def main(clock: VirtualClock) -> None:
        runs, record = MemoryRuns(), new_record("Chief", "go", clock, run_id="r", seed=3)
        results = []
        for _ in range(2):
            begun = runs.begin(RunOrder(record=record, node_id="memory"), now=clock.now()).result()
            live = LiveRun(runs, begun, clock)
            results.append(await chatty(calls).carry_out(live.root, "go", user_id="u", context=""))
            ended.append(clock.monotonic())
        assert without_times(results[0]) == without_times(results[1]) | _replayed(results[0])
        assert ended[0] > 3 and ended[1] == ended[0]
        assert results[1].usage == results[0].usage

    calls, ended = Calls(), list[float]()
    virtual(main)
    assert len(calls) == 6


def _replayed(result: ChatResult[Any]) -> dict[str, Any]:
    """Return what may differ in a replay: that it is one."""
    plain = without_times(result)
    return {"tool_calls": plain["tool_calls"], "attempts": plain["attempts"]}


def test_a_chat_that_failed_in_a_run_leaves_nothing_in_its_conversation() -> None:
    """A pattern that timed an agent out does not ask it again on replay, so what came later must not depend on it."""

    async def main(clock: VirtualClock) -> None:
        @tool
        async def stuck() -> None:
            await clock.sleep(100)

        seen: list[ModelRequest] = []

        def say(request: ModelRequest) -> Any:
            seen.append(request)
            return call("stuck") if len(seen) == 1 else "ok"

        agent = Agent(model=scripted({"": say}), tools=[stuck])
        with live_in_memory("test").root.entered():
            with pytest.raises(TimeoutError):
                async with clock.timeout(5):
                    await agent.chat("first")
            await agent.chat("second")
        assert [message.content for message in seen[1].messages] == ["second"]

    virtual(main)


def test_an_agent_can_be_run_with_a_handle() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(name="Ann", model=scripted(["hello"], cost=0.5), loop=LoopLimits(max_tool_calls=1))
        handle = start_in_memory(agent, "hi", context="Be kind.")
        result = await handle
        assert (result.content, handle.usage.cost, result.run_id) == ("hello", 0.5, handle.id)
        types = [event.type async for event in handle.events()]
        assert types == ["run_started", "step_started", "text", "step_finished", "run_finished"]

    virtual(main)


def test_typed_output_survives_the_journal() -> None:
    class City(msgspec.Struct):
        name: str

    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=scripted([call("final_output", name="Rome")]), output_type=City)
        result = await start_in_memory(agent, "where?")
        assert agent.decode_result(msgspec.json.decode(msgspec.json.encode(result))).output == City("Rome")

    virtual(main)


def test_a_loop_ends_a_run_the_same_on_replay() -> None:
    async def main(clock: VirtualClock) -> None:
        @tool
        def look() -> int:
            return 1

        runs, record = MemoryRuns(), new_record("Ann", "go", clock, run_id="r", seed=3)
        for life in range(2):
            begun = runs.begin(RunOrder(record=record, node_id="memory"), now=clock.now()).result()
            live = LiveRun(runs, begun, clock)
            replies = [call("look")] * 4 if life == 0 else []
            agent = Agent(name="Ann", model=scripted(replies), tools=[look])
            with pytest.raises(LoopDetectedError):
                await agent.carry_out(_root(live), "go", user_id="u", context="")

    virtual(main)


def _root(live: LiveRun) -> Scope:
    return live.root
