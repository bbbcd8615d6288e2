"""Places of a run that nobody else may have: the steps of one would be taken for those of another."""

from __future__ import annotations

import asyncio

import pytest

from shoal import Agent
from shoal.llm import echo
from shoal.orchestration import Pipeline, as_agent, call


async def _said(name: str, word: str) -> str:
    return (await Agent(name=name, model=echo(word)).chat("?")).content


async def _numbered(message: str) -> str:
    names = ["first", "Ann", "Ann", "Ann#2", "Ann", "Ann", "Ann#3"]
    return " ".join([await _said(name, str(number)) for number, name in enumerate(names)])


async def _called(message: str) -> str:
    first = await _said("first", "0")
    second = await call(Agent(name="Ann", model=echo("1")), "?", key="Ann")
    third = await _said("Ann", "2")
    with pytest.raises(ValueError, match="was used here already"):
        await call(Agent(name="Bob", model=echo("3")), "?", key="Ann#2")
    return f"{first} {second.content} {third}"


async def _slashed(message: str) -> str:
    return " ".join([await _said(name, name) for name in ("first", "a/b", "a%2Fb", "a")])


def test_equal_names_and_keys_have_places_of_their_own() -> None:
    async def main() -> None:
        result = await Pipeline([as_agent(_numbered, name="n"), as_agent(_called, name="c")]).run("x")
        assert [step.error for step in result.steps] == [None, None]
        assert [step.output for step in result.steps] == ["0? 1? 2? 3? 4? 5? 6?", "0? 1? 2?"]
        assert result.usage.calls == 10

    asyncio.run(main())


def test_the_slash_of_a_name_is_no_border_of_places() -> None:
    async def main() -> None:
        handle = Pipeline([as_agent(_slashed, name="s")]).start("x")
        assert (await handle).content == "first? a/b? a%2Fb? a?"
        assert handle.live is not None
        places = ["0:s/model1", "0:s/a%2Fb/model1", "0:s/a%252Fb/model1", "0:s/a/model1", "0:s/chat"]
        assert list(handle.live.recorded) == places

    asyncio.run(main())
