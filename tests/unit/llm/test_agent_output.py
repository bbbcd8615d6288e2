"""Typed output: five kinds of type, repairs, and what cannot be repaired."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from shoal import Agent, tool
from shoal.errors import OutputInvalidError
from shoal.llm import scripted
from shoal.llm.output import OUTPUT_TOOL, Output
from tests.unit.llm.agents import asks, call, keeping

Run = Callable[..., Any]


class City(msgspec.Struct):
    name: str
    people: int


@dataclasses.dataclass
class CityData:
    name: str
    people: int


class CityDict(TypedDict):
    name: str
    people: int


class CityModel(pydantic.BaseModel):
    name: str
    people: int = pydantic.Field(ge=0)


class Country(msgspec.Struct):
    cities: list[City]


ROME: dict[str, Any] = {"name": "Rome", "people": 2_750_000}


@pytest.mark.spec("O41")
@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (City, ROME, City("Rome", 2_750_000)),
        (CityData, ROME, CityData("Rome", 2_750_000)),
        (CityDict, ROME, ROME),
        (CityModel, ROME, CityModel(name="Rome", people=2_750_000)),
        (int, {"value": 42}, 42),
        (list[City], {"value": [ROME]}, [City("Rome", 2_750_000)]),
        (Country, {"cities": [ROME]}, Country([City("Rome", 2_750_000)])),
    ],
)
def test_the_output_is_of_the_type(kind: Any, given: Any, expected: Any, run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(call(OUTPUT_TOOL, **given))
        result = await Agent(model=model, output_type=kind).chat("Where?")
        assert result.output == expected
        assert json.loads(result.content) == given
        assert seen[0].output_schema is not None
        schema = seen[0].output_schema.parameters
        assert schema["type"] == "object"
        assert "$ref" not in schema and "$ref" not in json.dumps(schema)

    run(main)


@pytest.mark.spec("O41")
@pytest.mark.parametrize("bad", [call(OUTPUT_TOOL, name="Rome"), "Rome, of course"])
def test_invalid_output_is_repaired(bad: Any, run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(bad, call(OUTPUT_TOOL, **ROME), cost=1.0)
        result = await Agent(model=model, output_type=City).chat("Where?")
        assert result.output == City("Rome", 2_750_000)
        assert result.cost == 2.0
        told = asks(seen[1])[-1]
        assert "not valid" in told and OUTPUT_TOOL in told
        if not isinstance(bad, str):
            assert "people" in told

    run(main)


@pytest.mark.spec("O41")
def test_after_two_repairs_it_is_an_error_with_the_text(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping("no", call(OUTPUT_TOOL, name=5), call(OUTPUT_TOOL, name="Rome", people="many"), "never")
        with pytest.raises(OutputInvalidError) as caught:
            await Agent(model=model, output_type=City).chat("Where?")
        assert json.loads(caught.value.text) == {"name": "Rome", "people": "many"}
        assert "people" in caught.value.reason
        assert len(seen) == 3

    run(main)


def test_json_as_text_is_taken(run: Run) -> None:
    async def main() -> None:
        result = await Agent(model=scripted([json.dumps(ROME)]), output_type=City).chat("Where?")
        assert result.output == City("Rome", 2_750_000)

    run(main)


def test_tools_are_run_before_the_output(run: Run) -> None:
    async def main() -> None:
        @tool
        def look(name: str) -> int:
            return 2_750_000

        model, seen = keeping(
            call("look", name="Rome"), (call(OUTPUT_TOOL, **ROME), call("look", name="Paris")), "next"
        )
        agent = Agent(model=model, output_type=City, tools=[look])
        result = await agent.chat("Where?")
        assert result.output == City("Rome", 2_750_000)
        assert [record.name for record in result.tool_calls] == ["look"]
        answers = [message.content for message in await agent.history() if message.role == "tool"]
        assert answers == ["2750000", "accepted", "not run: the answer was given"]
        assert len(seen) == 2

    run(main)


def test_a_type_that_holds_itself_has_no_reference_at_the_top() -> None:
    schema = Output(Tree).spec.parameters
    assert "$ref" not in schema
    assert schema["type"] == "object"


class Tree(msgspec.Struct):
    name: str
    below: list[Tree] = []
