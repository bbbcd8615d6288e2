"""What of a conversation the model is shown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import Agent, MessageStore, open_store, tool
from shoal.kernel.starting import live_in_memory
from shoal.llm.memory import FirstLast, LastN, MemoryStrategy, Summarize, TokenWindow, healed, selected, strategy_of
from shoal.llm.model import ChatMessage, ModelRequest, ToolCall
from tests.unit.llm.agents import asks, call, keeping

Run = Callable[..., Any]


def user(text: str = "q") -> ChatMessage:
    return ChatMessage(role="user", content=text)


def said(text: str = "a", *calls: ToolCall) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, tool_calls=calls)


def answer(call_id: str) -> ChatMessage:
    return ChatMessage(role="tool", content=f"answer {call_id}", call_id=call_id, name="look")


def look(call_id: str) -> ToolCall:
    return ToolCall(call_id=call_id, name="look")


def test_an_unanswered_call_is_answered_and_an_answer_without_a_call_is_left_out() -> None:
    history = [answer("z"), user(), said("", look("a"), look("b")), answer("b"), user("next"), answer("c")]
    assert healed(history) == [
        user(),
        said("", look("a"), look("b")),
        ChatMessage(role="tool", content="not run: interrupted", call_id="a", name="look"),
        answer("b"),
        user("next"),
    ]


def turns(sizes: list[int]) -> list[ChatMessage]:
    """Return a conversation: for each number a question, a reply with so many calls, their answers, a last word."""
    found: list[ChatMessage] = []
    for number, calls in enumerate(sizes):
        ids = [f"{number}.{which}" for which in range(calls)]
        found.append(user(f"q{number}"))
        if ids:
            found += [said("", *map(look, ids)), *map(answer, ids)]
        found.append(said(f"a{number}"))
    return found


def is_whole(messages: Sequence[ChatMessage]) -> bool:
    """Tell whether each call is answered once, right after its reply, and nothing is answered that was not asked."""
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        if message.role == "tool":
            return False
        for asked in message.tool_calls:
            if place >= len(messages) or messages[place].call_id != asked.call_id:
                return False
            place += 1
    return True


class EverySecond:
    """Somebody's own strategy, which parts everything."""

    def select(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        return messages[::2]


class Later:
    """One that takes its time."""

    async def select(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        return messages[-3:]


STRATEGIES = [
    *(strategy_of(name) for name in ("last_n", "first_last", "token_window", "summarize", "all")),
    *(LastN(count) for count in range(1, 8)), FirstLast(3, 5), FirstLast(1, 1), TokenWindow(5), TokenWindow(20),
    EverySecond(), Later(),
]  # fmt: skip


def at_once(work: Coroutine[Any, Any, list[ChatMessage]]) -> list[ChatMessage]:
    """Return what a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        found: list[ChatMessage] = end.value
        return found
    raise AssertionError("it waits")


@pytest.mark.spec("O47")
@given(sizes=st.lists(st.integers(0, 4), max_size=12), strategy=st.sampled_from(STRATEGIES), lost=st.integers(0, 60))
def test_every_strategy_keeps_calls_and_answers_together(sizes: list[int], strategy: MemoryStrategy, lost: int) -> None:
    history = turns(sizes)
    if lost < len(history) and history[lost].role == "tool":
        del history[lost]  # a kill came between

    shown = at_once(selected(strategy, healed(history)))
    assert is_whole(shown)
    if isinstance(strategy, LastN):
        assert len(shown) <= strategy.count
    if isinstance(strategy, LastN | TokenWindow) and shown:
        assert shown[0].role == "user"


def test_the_newest_the_first_and_the_window() -> None:
    history = turns([0] * 40)  # 80 messages
    assert LastN().select(history) == history[-50:]
    assert FirstLast().select(history) == history[:2] + history[-20:]
    words = [user("x" * 4000), said("y" * 4000), user("z" * 60_000)]
    assert TokenWindow().select(words) == words[2:]
    assert strategy_of("all").select(history) == history


def test_the_default_shows_fifty_and_keeps_all(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(*["ok"] * 40)
        agent = Agent(model=model)
        for number in range(40):
            await agent.chat(f"q{number}")
        assert len(seen[-1].messages) == 51
        assert asks(seen[-1])[0] == "user: q14"
        assert len(await agent.history()) == 80

    run(main)


@pytest.mark.parametrize("stored", [False, True])
def test_over_forty_messages_all_but_ten_are_summarized(stored: bool, run: Run) -> None:
    async def talk(store: MessageStore | None) -> None:
        def say(request: ModelRequest) -> str:
            return "Numbers were told." if "Summarize" in request.system else "ok"

        model, seen = keeping(*[say] * 60)
        agent = Agent(name="Ann", model=model, memory="summarize", store=store)
        for number in range(23):
            await agent.chat(f"q{number}")
        summaries = [request for request in seen if "Summarize" in request.system]
        (asked,) = summaries
        assert "q0" in asked.messages[0].content and "q17" not in asked.messages[0].content
        last = asks(seen[-1])
        assert last[0] == "user: Summary of the conversation so far:\nNumbers were told."
        assert last[1] == "user: q16" and last[-1] == "user: q22"
        if store is not None:
            again = Agent(name="Ann", model=model, memory="summarize", store=store)
            assert [m.content for m in await again.history()] == [m.content for m in await agent.history()]
            assert len(await store.list("Ann/default")) == 47, "46 messages and one summary: nothing is lost"

    async def main() -> None:
        if not stored:
            await talk(None)
            return
        async with open_store("sqlite://:memory:") as store:
            await talk(MessageStore(store))

    run(main)


def test_summaries_are_steps_and_paid_for(run: Run) -> None:
    async def main() -> None:
        model, _ = keeping(*["ok"] * 60, cost=1.0)
        agent = Agent(model=model, memory=Summarize(keep=2, over=4))
        live = live_in_memory("test")
        with live.root.entered():
            results = [await agent.chat(f"q{number}") for number in range(4)]
        assert [result.cost for result in results] == [1.0, 1.0, 1.0, 2.0]
        assert [step.kind for key, step in live.recorded.items() if key.endswith("summary1")] == ["model"]

    run(main)


@pytest.mark.spec("O47")
def test_what_a_kill_left_in_the_store_is_healed_before_it_is_sent(run: Run) -> None:
    """The history as ``kill -9`` leaves it while a tool runs: the call is there, its answer is not."""

    async def main() -> None:
        async with open_store("sqlite://:memory:") as store:
            messages = MessageStore(store)

            @tool
            async def stuck() -> None:
                kept.extend(await messages.list("t"))

            kept: list[Any] = []
            first = Agent(name="Ann", model=keeping(call("stuck"), "done")[0], tools=[stuck], store=messages)
            await first.chat("go", thread_id="t")
            assert [row.role for row in kept] == ["user", "assistant"], "on disk before the tool runs"
            for row in (await messages.list("t"))[2:]:
                await messages.delete(row.id)
            model, seen = keeping("ok")
            await Agent(name="Ann", model=model, tools=[stuck], store=messages).chat("and?", thread_id="t")
            assert asks(seen[0]) == ["user: go", "assistant: ", "tool: not run: interrupted", "user: and?"]
            assert is_whole(seen[0].messages)

    run(main)


def test_what_others_wrote_is_cut_when_it_is_too_much(run: Run) -> None:
    from shoal.kernel.fences import WINDOW_CHARS, Quote, compose

    async def main() -> None:
        long = compose(["Read: ", Quote("Bob", "word " * 70_000)], window=10**9).text
        model, seen = keeping("ok", "ok")
        agent = Agent(model=model)
        live = live_in_memory("test")
        with live.root.entered():
            await agent.chat(long)
            await agent.chat(long)
        assert asks(seen[0]) == [f"user: {long}"]
        assert sum(map(len, asks(seen[1]))) <= WINDOW_CHARS
        assert "characters left out …]" in asks(seen[1])[0]
        live.feed.close()
        (event,) = [event async for event in live.feed.follow() if event.type == "context_cut"]
        assert event.data["left_out"] > 300_000

    run(main)
