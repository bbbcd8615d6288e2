"""Agents: what they are told, their conversations, and what is refused when they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import Agent, MessageStore, ThreadSafeMessageStore, UserContextStore, open_store, tool
from shoal.errors import ConfigError, ModelUnavailableError
from shoal.kernel.fences import FENCE_NOTE
from shoal.kernel.run import Handoff, Teammate, Teammates, current_teammates
from shoal.kernel.starting import live_in_memory
from shoal.llm import echo, scripted
from shoal.testing.clock import VirtualClock
from tests.support.speakers import virtual
from tests.unit.llm.agents import asks, call, keeping

Run = Callable[..., Any]


def test_it_answers_with_what_it_took(run: Run) -> None:
    async def main() -> None:
        result = await Agent(model=scripted(["hello"], cost=0.25)).chat("hi")
        assert (str(result), result.content, result.finish_reason) == ("hello", "hello", "stop")
        assert result.cost == 0.25
        assert (result.usage.calls, len(result.attempts)) == (1, 1)
        assert result.step == "model1" and result.run_id and result.provider == "double"

    run(main)


def test_the_system_text_has_name_role_and_the_note_on_fences(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping("ok")
        await Agent(model=model, name="Ann", role="Role, word\nfor {word}.").chat("hi")
        for part in ("Ann", "Role, word\nfor {word}.", FENCE_NOTE):
            assert part in seen[0].system

    run(main)


def test_settings_reach_the_model(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping("ok")
        agent = Agent(model=model, temperature=0.3, max_tokens=77, timeout=9, settings={"top_p": 0.5})
        result = await agent.chat("hi")
        (request,) = seen
        assert (request.temperature, request.max_tokens, request.timeout) == (0.3, 77, 9)
        assert request.settings == {"top_p": 0.5}
        assert request.key == f"{result.run_id}/model1"

    run(main)


def test_a_conversation_goes_on_for_each_user_and_thread(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(*["ok"] * 5)
        agent = Agent(model=model)
        await agent.chat("one")
        await agent.chat("two")
        await agent.chat("of Bob", user_id="bob")
        await agent.chat("of a thread", thread_id="t")
        assert asks(seen[1]) == ["user: one", "assistant: ok", "user: two"]
        assert asks(seen[2]) == ["user: of Bob"]
        assert asks(seen[3]) == ["user: of a thread"]
        assert [message.content for message in await agent.history()] == ["one", "ok", "two", "ok"]
        await agent.reset()
        assert await agent.history() == ()
        assert len(await agent.history("bob")) == 2

    run(main)


def test_a_conversation_in_a_store_outlives_the_agent(run: Run) -> None:
    async def main() -> None:
        async with open_store("sqlite://:memory:") as store:

            @tool
            def add(a: int, b: int) -> int:
                return a + b

            first = Agent(
                name="Ann", model=scripted([call("add", a=1, b=2), "three"]), tools=[add], store=MessageStore(store)
            )
            await first.chat("add", thread_id="t")
            await Agent(name="Bob", model="echo", store=MessageStore(store)).chat("Bob's own", thread_id="t")
            model, seen = keeping("again")
            second = Agent(name="Ann", model=model, store=MessageStore(store))
            await second.chat("and?", thread_id="t")
            assert asks(seen[0]) == ["user: add", "assistant: ", "tool: 3", "assistant: three", "user: and?"]
            assert seen[0].messages[1].tool_calls == (call("add", a=1, b=2),)
            assert [row.content for row in await MessageStore(store).list("t")][-2:] == ["and?", "again"]
            await second.reset(thread_id="t")
            assert await second.history(thread_id="t") == ()
            assert len(await MessageStore(store).list("t")) == 2, "Bob's are left"

    run(main)


@pytest.mark.parametrize("kept", ["memory", "store", "safe store"])
def test_one_conversation_has_one_writer_at_a_time(kept: str) -> None:
    async def talk(store: MessageStore | None) -> None:
        agent = Agent(
            model=scripted([lambda request: f"re {request.messages[-1].content}"] * 5, latency=1.0), store=store
        )
        await asyncio.gather(*(agent.chat(f"q{number}") for number in range(5)))
        said = [message.content for message in await agent.history()]
        assert said == [text for number in range(5) for text in (f"q{number}", f"re q{number}")]

    async def main(clock: VirtualClock) -> None:
        if kept == "memory":
            await talk(None)
            assert clock.monotonic() == 5.0, "the second chat waited for the first"
            return
        async with open_store("sqlite://:memory:") as store:
            await talk(MessageStore(store) if kept == "store" else ThreadSafeMessageStore(store))

    virtual(main)


def test_a_chat_that_waits_may_be_cancelled() -> None:
    async def main(clock: VirtualClock) -> None:
        agent = Agent(model=scripted(["first", "third"], latency=1.0))
        first = asyncio.ensure_future(agent.chat("1"))
        second = asyncio.ensure_future(agent.chat("2"))
        third = asyncio.ensure_future(agent.chat("3"))
        await clock.sleep(0.5)
        second.cancel()
        assert [(await first).content, (await third).content] == ["first", "third"]
        assert [message.content for message in await agent.history()] == ["1", "first", "3", "third"]

    virtual(main)


def test_a_chat_that_failed_leaves_no_question_behind(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(ModelUnavailableError("gone"), "back")
        agent = Agent(model=model, retries=0)
        with pytest.raises(ModelUnavailableError, match="gone"):
            await agent.chat("one")
        await agent.chat("two")
        assert asks(seen[1]) == ["user: two"]

    run(main)


def test_in_a_run_it_has_a_conversation_of_that_run(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping("own", "a", "b", "c", "d")
        agent = Agent(model=model)
        await agent.chat("outside")
        for number in (1, 2):
            live = live_in_memory("test")
            with live.root.entered():
                await agent.chat(f"in run {number}")
                await agent.chat("on")
        assert [len(request.messages) for request in seen] == [1, 1, 3, 1, 3]
        assert len(await agent.history()) == 2
        assert [request.ordinal for request in seen] == [0, 0, 1, 0, 1], "counted in each run"

    run(main)


def test_an_agent_is_a_tool_with_a_conversation_for_each_call(run: Run) -> None:
    async def main() -> None:
        inner_model, seen = keeping("four", "six", cost=0.5)
        inner = Agent(name="Content Writer", role="Writes.", model=inner_model)
        asking = (call("Content_Writer", 1, message="2+2"), call("Content_Writer", 2, message="3+3"))
        outer_model, asked = keeping(asking, "done", cost=1.0)
        outer = Agent(name="Boss", model=outer_model, tools=[inner.as_tool()])
        result = await outer.chat("go")
        assert [record.content for record in result.tool_calls] == ["four", "six"]
        assert asks(asked[1])[2:] == ["tool: four", "tool: six"]
        assert [asks(request) for request in seen] == [["user: 2+2"], ["user: 3+3"]]
        assert result.cost == 3.0, "what its tool asked of others is counted, once"
        (spec,) = outer.specs()
        assert (spec.name, spec.description) == ("Content_Writer", "Writes.")
        assert await inner.history() == ()

    run(main)


def test_who_is_asked_within_its_own_chat_is_told_instead_of_waiting_for_ever(run: Run) -> None:
    async def main() -> None:
        async def ask_myself() -> str:
            return (await agent.chat("me")).content

        agent = Agent(name="Narcissus", model=scripted([call("ask_myself"), "done", "never"]), tools=[ask_myself])
        with live_in_memory("test").root.entered():
            result = await agent.chat("go")
        (record,) = result.tool_calls
        assert record.error is not None and "in the middle of its own chat" in record.error

    run(main)


def test_a_fork_is_a_new_agent_without_history(run: Run) -> None:
    async def main() -> None:
        agent = Agent(name="Ann", model="echo", role="r")
        await agent.chat("one")
        other = agent.fork(name="Bob", temperature=0.5)
        assert (other.name, other.role, other.temperature) == ("Bob", "r", 0.5)
        assert await other.history() == ()
        with pytest.raises(TypeError, match=r"no field 'temprature'.*temperature"):
            agent.fork(temprature=1)

    run(main)


def test_what_is_known_of_the_user_is_shown_and_added_to(run: Run) -> None:
    async def main() -> None:
        async with open_store("sqlite://:memory:") as store:
            await UserContextStore(store).set("phil", {"name": "Phil", "pets": {"dog": "Rex"}})
            model, seen = keeping(call("remember", updates={"city": "London", "pets": {"cat": "Tom"}}), "noted", "yes")
            agent = Agent(model=model, user_context=True, store=MessageStore(store))
            await agent.chat("I live in London", user_id="phil")
            assert '"name":"Phil"' in seen[0].system
            assert [spec.name for spec in seen[0].tools] == ["remember"]
            expected = {"name": "Phil", "city": "London", "pets": {"dog": "Rex", "cat": "Tom"}}
            assert await UserContextStore(store).get("phil") == expected
            await agent.chat("and?", user_id="phil")
            assert "London" in seen[2].system

    run(main)


def test_without_a_store_it_remembers_its_users_itself(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(call("remember", updates={"city": "Rome"}), "noted", "a", "b")
        agent = Agent(model=model, user_context=True)
        await agent.chat("I live in Rome")
        await agent.chat("where?")
        await agent.chat("where?", user_id="other")
        assert "Rome" in seen[2].system and "Rome" not in seen[3].system

    run(main)


def test_in_a_team_it_may_hand_over(run: Run) -> None:
    async def main() -> None:
        offered = Teammates("", (Teammate("Content Writer", "writes"), Teammate("Critic")))
        transfer = call("transfer_to_Content_Writer", message="Write it", reason="I cannot")
        model, seen = keeping(transfer, "alone", cost=1.0)
        agent = Agent(name="Ann", model=model)
        current_teammates.set(offered)
        result = await agent.chat("go")
        assert result.handoff == Handoff("Content Writer", "Write it", "I cannot", "Ann")
        assert [spec.name for spec in seen[0].tools] == ["transfer_to_Content_Writer", "transfer_to_Critic"]
        assert [message.role for message in await agent.history()] == ["user", "assistant", "tool"]
        only, asked = keeping("ok")
        await Agent(model=only, handoffs=["Critic"]).chat("go")
        assert [spec.name for spec in asked[0].tools] == ["transfer_to_Critic"]
        current_teammates.set(Teammates("somewhere/else", offered.members))
        assert (await agent.chat("go")).handoff is None
        assert seen[1].tools == ()

    run(main)


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"max_tokens": 0}, ValueError, r"Agent\(max_tokens=0\): it must be a whole number from 1"),
        ({"timeout": -1}, ValueError, r"timeout=-1\): it must be a number of seconds above 0"),
        ({"retries": -1}, ValueError, r"retries=-1"),
        ({"temperature": "hot"}, ValueError, r"temperature='hot'"),
        ({"name": " "}, ValueError, r"name=' '"),
        ({"memory": "lastn"}, ValueError, r"memory='lastn': it must be one of last_n.*'last_n'"),
        ({"memory": 5}, TypeError, r"memory=5.*select\(messages\)"),
        ({"store": object()}, ValueError, r"a MessageStore, or None"),
        ({"handoffs": "Bob"}, ValueError, r"a list of names"),
        ({"tools": [print, print]}, (TypeError, ValueError), r"print"),
        ({"output_type": type("Odd", (), {})}, TypeError, r"Odd has no JSON schema"),
        ({"price": (1,)}, ValueError, r"two numbers"),
        ({"model": None}, ConfigError, r"no model"),
        ({"model": None, "provider": "opnai"}, ConfigError, r"opnai.*openai"),
    ],
)
def test_what_is_not_possible_is_refused_when_it_is_made(fields: dict[str, Any], error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        Agent(**{"model": "echo", **fields})


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("message", "error"), [("", ValueError), ("  \n", ValueError), (5, TypeError), (None, TypeError)]
)
def test_a_message_that_says_nothing_is_refused_before_any_call(message: Any, error: type[Exception], run: Run) -> None:
    async def main() -> None:
        model, seen = keeping("never")
        agent = Agent(model=model)
        with pytest.raises(error):
            await agent.chat(message)
        with pytest.raises(error):
            agent.stream(message)
        assert seen == []

    run(main)


@pytest.mark.spec("O50")
def test_two_tools_of_one_name_are_refused() -> None:
    def add(a: int) -> int:
        return a

    with pytest.raises(ValueError, match="two tools are named 'add'"):
        Agent(model="echo", tools=[add, add])


def test_the_key_stands_in_no_repr(run: Run) -> None:
    async def main() -> None:
        agent = Agent(
            provider="openai", api_key="sk-very-secret", settings={"extra_headers": {"X-Key": "sk-very-secret"}}
        )
        assert "secret" not in repr(agent) + repr(agent.calling.models) + repr(agent.toolbox)

    run(main)


def test_one_agent_serves_several_event_loops() -> None:
    agent = Agent(model=echo("re: "))
    assert [asyncio.run(_content(agent, f"{number}")) for number in range(3)] == ["re: 0", "re: 1", "re: 2"]


async def _content(agent: Agent[Any], message: str) -> str:
    first, second = await asyncio.gather(agent.chat(message), agent.chat("and"))
    assert second.content == "re: and"
    return first.content


def test_an_agent_may_be_written_with_its_type_of_output() -> None:
    assert Agent[int](model="echo", output_type=int).output_type is int
