"""What counts as an agent, and what is said to who gives something else."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal.kernel.budget import Budget
from shoal.kernel.scope import current_scope
from shoal.orchestration import ConditionalPipeline, ParallelAgents, Pipeline, Team, as_agent, parallel_chat
from tests.support.speakers import Said, Speaker

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


async def shout(message: str) -> str:
    return message.upper()


def whisper(message: str) -> str:
    return f"{message.lower()} in {threading.current_thread().name}"


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: ParallelAgents([]), ValueError, "ParallelAgents needs at least 1 agent, got 0"),
        (lambda: Pipeline([]), ValueError, "Pipeline needs at least 1 agent, got 0"),
        (lambda: Team([Speaker("A")]), ValueError, "Team needs at least 2 agents, got 1"),
        (lambda: ParallelAgents([Speaker("A"), None]), TypeError, "agent 1 (NoneType) has no async chat(message)"),
        (lambda: ParallelAgents([Speaker("A"), {}]), TypeError, "agent 1 (dict) has no async chat(message)"),
        (lambda: ParallelAgents(3), TypeError, "ParallelAgents needs a list of agents, not int"),  # type: ignore[arg-type]
        (lambda: ParallelAgents("ab"), TypeError, "ParallelAgents needs a list of agents, not str"),
        (lambda: Pipeline([Speaker]), TypeError, "agent 0 is the class Speaker: make an agent of it first"),
        (
            lambda: Pipeline([lambda text: text]),
            ValueError,
            "agent 0 is a function without a name: give it a name: as_agent(fn, name=…)",
        ),
        (lambda: as_agent(lambda text: text), ValueError, "give it a name: as_agent(fn, name=…)"),
        (lambda: as_agent(3), TypeError, "int has no async chat(message), and is no function"),
        (lambda: as_agent(shout, call=3), TypeError, "call must be a function of the message, not int"),  # type: ignore[arg-type]
        (
            lambda: ParallelAgents([Speaker("A"), Speaker("B"), Speaker("A")]),
            ValueError,
            "agent names must be unique in ParallelAgents: 'A'",
        ),
        (lambda: Team([Speaker("A"), Speaker("A")]), ValueError, "agent names must be unique in Team: 'A'"),
        (
            lambda: ConditionalPipeline(None, {"a": [Speaker("A")]}, str),
            TypeError,
            "the classifier (NoneType) has no async chat(message)",
        ),
    ],
)
@pytest.mark.spec("O50")
def test_what_is_no_agent_is_refused(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert text in str(caught.value)


@pytest.mark.spec("O5", "O50")
def test_one_instance_twice_is_refused_and_allowed_on_request(run: Run) -> None:
    writer = Speaker("Writer")
    for make in (ParallelAgents, Team):
        with pytest.raises(ValueError) as caught:
            make([writer, Speaker("B"), writer])
        text = "agent 'Writer' is listed twice (0, 2): fork() it, or allow_duplicate_instances=True"
        assert str(caught.value) == text
    both = ParallelAgents([writer, Speaker("B"), writer], allow_duplicate_instances=True)
    result = run(lambda: both.chat("x"))
    assert [said.agent_name for said in result.results] == ["Writer", "B", "Writer#2"]
    assert result.contents == ["Writer(x)", "B(x)", "Writer(x)"]
    with pytest.raises(ValueError, match="unique in ParallelAgents: 'Writer'"):
        ParallelAgents([writer, Speaker("Writer")], allow_duplicate_instances=True)
    twice = run(lambda: Pipeline([writer, writer]).run("x"))
    assert twice.content == "Writer(Writer(x))"


def test_functions_and_foreign_agents_answer(run: Run) -> None:
    class Theirs:
        async def invoke(self, prompt: str) -> str:
            return f"theirs: {prompt}"

    agents = [
        shout,
        as_agent(lambda text: f"({text})", name="Lambda"),
        as_agent(Theirs(), name="Theirs", call=lambda agent, message: agent.invoke(message)),
        as_agent(shout, name="Other", call=lambda message: message * 2),
        Speaker("Object", Said("an object")),
    ]
    result = run(lambda: parallel_chat(agents, "Hi"))
    assert [(said.agent_name, said.content) for said in result.results] == [
        ("shout", "HI"),
        ("Lambda", "(Hi)"),
        ("Theirs", "theirs: Hi"),
        ("Other", "HiHi"),
        ("Object", "an object"),
    ]
    assert "theirs" in repr(agents[2]).lower()


def test_a_function_that_is_not_async_does_not_hold_up_the_others(run: Run) -> None:
    entered, free = threading.Event(), threading.Event()

    def blocks(message: str) -> str:
        entered.set()
        assert free.wait(30)
        return f"{message} in the run: {current_scope.get() is not None}"

    async def frees(message: str) -> str:
        while not entered.is_set():
            await asyncio.sleep(0.001)
        free.set()
        return "freed"

    result = run(lambda: parallel_chat([blocks, frees], "x"))
    assert result.contents == ["x in the run: True", "freed"]
    assert run(lambda: as_agent(whisper).chat("HI")).startswith("hi in ")


@pytest.mark.parametrize("answer", [None, 3, [], {"content": "x"}, Said(3)])  # type: ignore[arg-type]
@pytest.mark.spec("O50")
def test_what_is_no_answer_fails_that_agent(run: Run, answer: Any) -> None:
    result = run(lambda: parallel_chat([Speaker("Writer", lambda _: answer), Speaker("B")], "x"))
    kind = type(answer).__name__
    assert result.failed[0].error == f"Writer returned {kind}, expected str or an object with .content"
    assert result.failed[0].error_type == "TypeError"
    assert result.contents == ["B(x)"]


def test_an_agent_is_told_for_whom_if_it_takes_that(run: Run) -> None:
    async def greets(message: str, user_id: str = "nobody") -> str:
        return f"{message} {user_id}"

    assert run(lambda: ParallelAgents([greets]).chat("hello", user_id="ada")).contents == ["hello ada"]
    assert run(lambda: Pipeline([as_agent(greets)]).run("hello", user_id="ada")).content == "hello ada"


@pytest.mark.spec("O50")
def test_every_pattern_has_a_name_and_perhaps_a_budget() -> None:
    agents = [Speaker("A"), Speaker("B")]
    for make in (
        lambda **more: ParallelAgents(agents, **more),
        lambda **more: Pipeline(agents, **more),
        lambda **more: ConditionalPipeline(agents[0], {"b": agents}, str, **more),
        lambda **more: Team(agents, **more),
    ):
        with pytest.raises(ValueError) as caught:
            make(name="")
        assert str(caught.value) == "name='': it must be a text"
        with pytest.raises(TypeError) as wrong:
            make(budget=3)
        assert str(wrong.value) == "budget must be a Budget, not int"
        pattern = make(name="mine", budget=Budget(max_calls=3))
        again = dataclasses.replace(pattern, name="yours")
        assert (again.name, again.budget) == ("yours", Budget(max_calls=3))
