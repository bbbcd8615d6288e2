"""What a model is told of a tool, and how its JSON becomes a call."""

from __future__ import annotations

import enum
import types
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from shoal.llm.schemas import convert, json_schema
from shoal.llm.tools import Tool, ToolContext, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)


class Options(TypedDict, total=False):
    depth: int


class Node(msgspec.Struct):
    value: int
    next: Node | None = None


def search(
    query: str,
    limit: Annotated[int, msgspec.Meta(ge=1)] = 10,
    kind: Literal["news", "papers"] = "news",
    colour: Colour | None = None,
    near: Point | None = None,
    options: Options | None = None,
    note: Annotated[str, "for the log"] = "",
) -> str:
    """Search the library.

    It looks everywhere.

    Args:
        query: what to look for,
            in words
        limit (int): how many at most
    Returns:
        Text.
    """
    return f"{query} {limit} {kind} {colour} {near} {options} {note}"


def test_a_schema_out_of_signature_hints_and_docstring() -> None:
    spec = Tool(search).spec
    assert (spec.name, spec.description) == ("search", "Search the library.\n\nIt looks everywhere.")
    schema = spec.parameters
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["query"], False)
    parts = schema["properties"]
    assert parts["query"] == {"type": "string", "description": "what to look for, in words"}
    assert parts["limit"] == {"type": "integer", "minimum": 1, "default": 10, "description": "how many at most"}
    assert parts["kind"] == {"enum": ["news", "papers"], "default": "news"}
    assert parts["note"] == {"type": "string", "description": "for the log", "default": ""}
    assert {"type": "null"} in parts["near"]["anyOf"]
    near = next(part for part in parts["near"]["anyOf"] if part.get("type") == "object")
    assert near["required"] == ["x"] and near["properties"]["tags"]["items"] == {"type": "string"}
    assert "$ref" not in str(schema)


def test_arguments_become_the_types_of_the_signature() -> None:
    signature = Tool(search).signature
    call = signature.bind({"query": "q", "colour": "red", "near": {"x": 1}, "options": {"depth": 2}})
    assert call.kwargs == {"query": "q", "colour": Colour.RED, "near": Point(1), "options": {"depth": 2}}
    assert search(**call.kwargs).startswith("q 10 news")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "missing required field `query`"),
        ({"query": 1}, "query: Expected `str`, got `int`"),
        ({"query": "q", "limit": 0}, "limit: Expected `int` >= 1"),
        ({"query": "q", "kind": "books"}, "kind: Invalid enum value 'books'"),
        ({"query": "q", "near": {"x": "a"}}, "near.x: Expected `int`, got `str`"),
        ({"query": "q", "pages": 2}, "unknown field `pages`"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as raised:
        Tool(search).signature.bind(arguments)
    assert words in str(raised.value)


def test_a_type_that_contains_itself_keeps_one_reference() -> None:
    def walk(node: Node) -> str:
        return ""

    schema = Tool(walk).spec.parameters
    assert schema["properties"]["node"]["properties"]["next"]["anyOf"] == [{"$ref": "#/$defs/Node"}, {"type": "null"}]
    assert list(schema["$defs"]) == ["Node"]
    assert Tool(walk).signature.bind({"node": {"value": 1, "next": {"value": 2}}}).kwargs["node"].next.value == 2


def test_pydantic_models_are_told_and_built_by_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic")
    author: Any = pydantic.create_model("Author", name=(str, pydantic.Field(description="the full name")))
    authors = types.GenericAlias(list, author)
    book: Any = pydantic.create_model("Book", title=(str, ...), authors=(authors, []))

    def add(book: Any, more: Any = None) -> str:
        return ""

    add.__annotations__ = {"book": book, "more": types.GenericAlias(list, book) | None}
    made = Tool(add)
    schema = made.spec.parameters["properties"]["book"]
    assert schema["properties"]["authors"]["items"]["properties"]["name"]["description"] == "the full name"
    call = made.signature.bind({"book": {"title": "t", "authors": [{"name": "n"}]}, "more": [{"title": "u"}]})
    assert call.kwargs["book"].authors[0].name == "n" and call.kwargs["more"][0].title == "u"
    with pytest.raises(ValueError, match=r"book: 1 validation error for Book title Field required"):
        made.signature.bind({"book": {}})


def test_the_other_styles_of_docstrings() -> None:
    def numpy_style(a: int, b: int = 1) -> int:
        """Add.

        Parameters
        ----------
        a : int
            the first
        b : int, optional
            the second

        Returns
        -------
        int
        """
        return a + b

    def sphinx_style(a: int, b: int) -> int:
        """Add.

        :param a: the first
        :param int b: the second,
            and last
        :returns: the sum
        """
        return a + b

    for fn, second in ((numpy_style, "the second"), (sphinx_style, "the second, and last")):
        spec = Tool(fn).spec
        assert spec.description == "Add."
        parts = spec.parameters["properties"]
        assert (parts["a"]["description"], parts["b"]["description"]) == ("the first", second)


def test_the_context_is_hidden_and_defaults_stay_the_functions_own() -> None:
    marker = object()

    @tool
    def act(ctx: ToolContext, what: str, how: Any = marker, /, *, loud: bool = False) -> str:
        return ""

    assert set(act.spec.parameters["properties"]) == {"what", "how", "loud"}
    assert act.signature.takes_context
    assert act.signature.bind({"what": "w"}) == (("w", marker), {})
    assert act.signature.bind({"what": "w", "loud": True, "how": 1}) == (("w", 1), {"loud": True})


def test_what_has_no_schema_is_refused_with_the_parameter() -> None:
    class Socket:
        pass

    def use(socket: Any) -> None: ...

    use.__annotations__ = {"socket": Socket}
    with pytest.raises(TypeError, match=r"tool 'use': parameter 'socket': .*Socket has no JSON schema"):
        Tool(use)

    def many(*words: str) -> None: ...

    with pytest.raises(TypeError, match=r"'many': a model names its arguments, so \*args cannot be filled"):
        Tool(many)

    def unknown(a: int) -> None: ...

    unknown.__annotations__ = {"a": "Nowhere"}
    with pytest.raises(TypeError, match=r"'unknown': its type hints cannot be read: name 'Nowhere'"):
        Tool(unknown)


def test_a_function_of_any_keywords_and_a_schema_of_ones_own() -> None:
    def anything(a: int = 0, **rest: Any) -> None: ...

    assert "additionalProperties" not in Tool(anything).spec.parameters
    assert Tool(anything).signature.bind({"a": 1, "b": 2}).kwargs == {"a": 1, "b": 2}
    schema = {"type": "object", "properties": {"b": {"type": "integer"}}}
    assert Tool(anything, parameters=schema).spec.parameters == schema


def test_types_for_answers() -> None:
    assert json_schema(Point)["properties"]["x"] == {"type": "integer"}
    assert json_schema(list[int]) == {"type": "array", "items": {"type": "integer"}}
    assert convert({"x": 1}, Point) == Point(1)
    with pytest.raises(ValueError, match="Expected `int`, got `str`"):
        convert("a", int)
    with pytest.raises(TypeError, match="object has no JSON schema"):
        json_schema(object)
