"""Schemas: every violation by its path, the same for the three kinds; strictness; and schemas that cannot be."""

from __future__ import annotations

import enum
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from pydantic import Field

from shoal.errors import MissingExtraError, ValidationFailed
from shoal.services.schema import Schema, json_schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct):
    sku: Annotated[str, Meta(pattern="^[A-Z]+$")]
    count: Annotated[int, Meta(ge=1, lt=100)]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    kind: Literal["sell", "buy"]
    colour: Colour
    item: Item
    items: Annotated[list[Item], Meta(max_length=3)] = []
    note: Annotated[str, Meta(min_length=2)] | None = None
    at: datetime | None = None
    spare: Item | None = None
    word: Literal["x"] = "x"
    level: Literal["low", "high"] | None = None
    counts: dict[str, int] = {}
    price: float = 0.0
    either: int | str = 0
    sure: bool = False


class ModelItem(pydantic.BaseModel):
    sku: Annotated[str, Field(pattern="^[A-Z]+$")]
    count: Annotated[int, Field(ge=1, lt=100)]


class ModelOrder(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    number: int
    kind: Literal["buy", "sell"]
    colour: Colour
    item: ModelItem
    items: Annotated[list[ModelItem], Field(max_length=3)] = []
    note: Annotated[str, Field(min_length=2)] | None = None
    at: datetime | None = None
    spare: ModelItem | None = None
    word: Literal["x"] = "x"
    level: Literal["high", "low"] | None = None
    counts: dict[str, int] = {}
    price: float = 0.0
    either: str | int = 0
    sure: bool = False


JSON_ITEM = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]+$"},
        "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 100},
    },
    "required": ["count", "sku"],
}
JSON_ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["item", "colour", "kind", "number"],
    "additionalProperties": False,
    "$defs": {"item": JSON_ITEM},
    "properties": {
        "number": {"type": "integer"},
        "kind": {"type": "string", "enum": ["buy", "sell"]},
        "colour": {"enum": ["blue", "red"]},
        "item": {"$ref": "#/$defs/item"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 3},
        "note": {"type": ["string", "null"], "minLength": 2},
        "at": {"type": ["string", "null"], "format": "date-time"},
        "spare": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/item"}]},
        "word": {"const": "x"},
        "level": {"enum": ["low", "high", None]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "price": {"type": "number"},
        "either": {"type": ["integer", "string"]},
        "sure": {"type": "boolean"},
    },
}
KINDS = {"json": JSON_ORDER, "msgspec": Order, "pydantic": ModelOrder}
SCHEMAS = {name: Schema(kind) for name, kind in KINDS.items()}
ITEM = {"sku": "A", "count": 1}
GOOD: dict[str, Any] = {"number": 1, "kind": "buy", "colour": "red", "item": ITEM}


def _violations(value: Any) -> dict[str, str]:
    """All violations by path, when the three schemas tell the same."""
    lists = {name: schema.violations(value) for name, schema in SCHEMAS.items()}
    assert lists["json"] == lists["msgspec"] == lists["pydantic"]
    found = {each["path"]: each["message"] for each in lists["json"]}
    assert [{"path": path, "message": text} for path, text in sorted(found.items())] == lists["json"]
    return found


@pytest.mark.spec("S30")
def test_every_violation_of_a_request_that_is_wrong_all_over() -> None:
    wrong = {
        "kind": 1,
        "colour": "green",
        "item": {"sku": "a"},
        "items": [ITEM, {"count": "1", "sku": 3}, ITEM, {"sku": "A", "count": 100}],
        "note": "x",
        "at": "noon",
        "spare": {"count": 0},
        "word": "y",
        "level": "middle",
        "counts": {"a": "many", "b.c": None},
        "price": "much",
        "either": [],
        "sure": 1,
        "colur": "red",
    }
    assert _violations(wrong) == {
        "number": "missing",
        "kind": 'must be one of "buy", "sell"',
        "colour": 'must be one of "blue", "red"',
        "item.sku": "must match ^[A-Z]+$",
        "item.count": "missing",
        "items": "must have at most 3 items",
        "items[1].count": "must be integer, not string",
        "items[1].sku": "must be string, not integer",
        "items[3].count": "must be below 100",
        "note": "must have at least 2 characters",
        "at": "must be a date-time",
        "spare.count": "must be at least 1",
        "spare.sku": "missing",
        "word": 'must be "x"',
        "level": 'must be one of "high", "low", null',
        "counts.a": "must be integer, not string",
        'counts["b.c"]': "must be integer, not null",
        "price": "must be number, not string",
        "either": "must be integer or string, not array",
        "sure": "must be boolean, not integer",
        "colur": "unknown key",
    }


@pytest.mark.spec("S30")
@pytest.mark.parametrize(
    ("wrong", "paths"),
    [
        ({}, {"number", "kind", "colour", "item"}),
        ([], {""}),
        ("text", {""}),
        (None, {""}),
        ({**GOOD, "number": "1"}, {"number"}),
        ({**GOOD, "number": 1.5}, {"number"}),
        ({**GOOD, "number": True}, {"number"}),
        ({**GOOD, "number": None}, {"number"}),
        ({**GOOD, "at": "2026-13-01T00:00:00Z"}, {"at"}),
        ({**GOOD, "at": 5, "spare": 5, "note": 5}, {"at", "spare", "note"}),
        ({**GOOD, "item": {}}, {"item.sku", "item.count"}),
        ({**GOOD, "item": []}, {"item"}),
        ({**GOOD, "items": {}}, {"items"}),
        ({**GOOD, "a b": 1, "c": 2}, {'["a b"]', "c"}),
    ],
)
def test_the_three_tell_the_same(wrong: Any, paths: set[str]) -> None:
    assert set(_violations(wrong)) == paths


values = st.sampled_from([None, True, 1, 0, 100, 1.5, "", "x", "A", "buy", "red", "low", [], {}, ITEM, [ITEM], [5]])
keys = st.sampled_from([*Order.__struct_fields__, "other"])


@pytest.mark.spec("S30")
@given(st.dictionaries(keys, values), st.booleans())
def test_the_three_tell_the_same_of_anything(given_fields: dict[str, Any], complete: bool) -> None:
    _violations({**GOOD, **given_fields} if complete else given_fields)


@pytest.mark.parametrize("name", KINDS)
def test_a_good_request_is_converted(name: str) -> None:
    value = {
        **GOOD,
        "note": None,
        "at": "2026-01-01T00:00:00Z",
        "spare": ITEM,
        "level": None,
        "counts": {"a": 1},
        "price": 2,
    }
    schema = SCHEMAS[name]
    assert schema.violations(value) == []
    found = schema.convert(value)
    if name == "json":
        assert found is value
    else:
        assert (found.number, found.spare.sku) == (1, "A")


def test_a_good_request_costs_one_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the JSON Schema of the type is only loaded with the first bad one."""
    calls: list[object] = []
    real = msgspec.convert

    def counting(value: Any, kind: Any, **options: Any) -> Any:
        calls.append(kind)
        return real(value, kind, **options)

    schema = Schema(Order)
    monkeypatch.setattr(msgspec, "convert", counting)
    schema.convert(GOOD)
    assert calls == [Order]
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    schema.convert(GOOD)


def test_the_error_lists_everything_and_its_text_the_first() -> None:
    with pytest.raises(ValidationFailed) as raised:
        SCHEMAS["json"].convert({"a": 1, "b": 1, "c": 1})
    assert len(raised.value.details) == 7
    assert str(raised.value) == (
        "VALIDATION_ERROR: a: unknown key; b: unknown key; c: unknown key; colour: missing; item: missing; and 2 more"
    )


@pytest.mark.parametrize("name", KINDS)
def test_no_message_repeats_what_was_sent(name: str) -> None:
    secret = "hunter2"
    found = SCHEMAS[name].violations(dict.fromkeys(Order.__struct_fields__, secret))
    assert found
    assert secret not in str(found)


class Positive(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("number must not be negative")


class ModelPositive(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def not_negative(cls, value: int) -> int:
        if value < 0:
            raise ValueError("must not be negative")
        return value


def test_what_only_the_type_knows_is_told_too() -> None:
    assert Schema(Positive).violations({"number": -1}) == [{"path": "", "message": "number must not be negative"}]
    (told,) = Schema(ModelPositive).violations({"number": -1})
    assert told["path"] == "number"
    assert "must not be negative" in told["message"]


class Typed(TypedDict):
    number: int


@dataclass
class Plain:
    number: int


@pytest.mark.parametrize("kind", [Typed, Plain, dict[str, int]])
def test_other_types_are_schemas_too(kind: Any) -> None:
    schema = Schema(kind)
    assert schema.violations({"number": 1}) == []
    assert schema.violations({"number": "x"}) == [{"path": "number", "message": "must be integer, not string"}]


class Node(msgspec.Struct):
    next: Node | None = None
    number: int = 0


def test_types_that_contain_themselves() -> None:
    assert Schema(Node).violations({"next": {"next": {"number": "x"}}}) == [
        {"path": "next.next.number", "message": "must be integer, not string"}
    ]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: object, **named: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"type": "strin"}, "no JSON Schema at type"),
        ({"properties": {"a": {"minimum": "1"}}}, "no JSON Schema at properties.a.minimum"),
        ({"required": "a"}, "no JSON Schema at required"),
        ({"$ref": "#/$defs/nothing"}, "leads to nothing"),
        ({"properties": {"a": {"items": [{"$ref": "http://127.0.0.1:9/x.json"}]}}}, "no JSON Schema|leads to nothing"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "leads to nothing"),
        ({"$dynamicRef": "http://127.0.0.1:9/x.json"}, "leads to nothing"),
        ({"$ref": "#/own/a", "own": {"a": {"not": {"$ref": "http://127.0.0.1:9/x.json"}}}}, "leads to nothing"),
        ({"$ref": "file:///etc/passwd"}, "leads to nothing"),
        (None, "must be a JSON Schema"),
        ("text", "must be a JSON Schema"),
        ([1], "must be a JSON Schema"),
        (object(), "has no JSON Schema"),
        (type(sys), "has no JSON Schema"),
    ],
)
def test_what_is_no_schema_is_refused_at_once(wrong: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Schema(wrong)


@pytest.mark.usefixtures("no_network")
def test_references_within_a_schema_are_followed() -> None:
    """Also by names that parts of it give themselves, and in places that are no schemas but for the reference."""
    schema = Schema(
        {
            "$id": "https://example.org/order",
            "$defs": {
                "a": {"$id": "https://example.org/a", "$ref": "#/$defs/b", "$defs": {"b": {"type": "integer"}}},
                "c": {"$anchor": "word", "type": "string"},
            },
            "own": {"d": {"type": "null"}},
            "properties": {
                "a": {"$ref": "a"}, "c": {"$ref": "#word"}, "d": {"$ref": "#/own/d"}, "all": {"$ref": "#"},
                "$ref": {"enum": [{"$ref": "#/nowhere"}]},
            },
        }
    )  # fmt: skip
    assert schema.violations({"a": 1, "c": "x", "d": None, "all": {"a": 1}, "$ref": {"$ref": "#/nowhere"}}) == []
    assert [each["path"] for each in schema.violations({"a": "x", "c": 1, "d": 1, "all": {"a": None}})] == [
        "a",
        "all.a",
        "c",
        "d",
    ]


def test_a_value_deeper_than_the_checks_reach_is_no_crash() -> None:
    deep: Any = {}
    for _ in range(450):
        deep = {"a": deep}
    recursive = {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {"$ref": "#/$defs/x"}}}}}
    limit = sys.getrecursionlimit()
    try:
        assert Schema(recursive).violations(deep) in ([], [{"path": "", "message": "is nested too deeply"}])
    finally:
        assert sys.getrecursionlimit() == limit


def test_without_the_extra_types_work_and_a_json_schema_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingExtraError, match="schema"):
        Schema({"type": "object"})
    assert Schema(Typed).violations({"number": "x"}) == [{"path": "number", "message": "Expected `int`, got `str`"}]
    (told,) = Schema(ModelPositive).violations({})
    assert told == {"path": "number", "message": "Field required"}


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS.values():
            Schema(kind).violations({})
    assert json_schema(JSON_ORDER) is JSON_ORDER
