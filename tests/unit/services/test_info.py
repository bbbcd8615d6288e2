"""What a service says of itself: every fault at once, and what is kept; the record of an instance."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import ConfigError, InfoError
from shoal.services.info import AgentInfo, AgentRecord, AgentType


class Order(msgspec.Struct):
    number: int


def test_a_dict_becomes_an_info() -> None:
    info = AgentInfo.of({"name": " Worker ", "capabilities": [" Math ", "math", "Text"], "type": "server"})
    assert info == AgentInfo("Worker", ("math", "text"), AgentType.SERVER)
    assert (info.type.answers, info.type.asks) == (True, False)
    assert info.has(" MATH ")
    assert not info.has("maths")
    assert AgentInfo.of(info) is info


def test_the_least_is_a_name_and_a_capability() -> None:
    info = AgentInfo.of({"name": "w", "capabilities": ("x",)})
    assert (info.type, info.version, info.metadata, info.control_from, info.exclusive) == ("hybrid", "1", {}, (), False)


def test_every_fault_is_told_at_once() -> None:
    wrong: dict[str, Any] = {
        "capabilities": ["x"] * 65,
        "type": "robot",
        "version": 2,
        "metadata": {"when": {1}},
        "control_from": "admin",
        "exclusive": "yes",
        "request_schema": "text",
        "capabilites": 1,
    }
    with pytest.raises(InfoError) as raised:
        AgentInfo.of(wrong)
    faults = raised.value.faults
    assert isinstance(raised.value, ConfigError)
    assert faults == (
        "'capabilites': unknown key; did you mean 'capabilities'?",
        "name: missing",
        "capabilities: must be a list of 1 to 64 words, not 65 of them",
        "type: must be one of server, client, hybrid, not 'robot'",
        "version: must be text of 1 to 100 characters, not 2",
        "request_schema: must be a JSON Schema (a dict), a msgspec type or a pydantic model, not 'text'",
        "metadata: metadata.when is a set",
        "control_from: must be a list of names or patterns, not 'admin'",
        "exclusive: must be true or false, not 'yes'",
    )


@pytest.mark.parametrize(
    ("given_keys", "fault"),
    [
        ({"capabilities": ["x"]}, "name: missing"),
        ({"name": "w"}, "capabilities: missing"),
        ({"name": "w", "capabilities": ["x"], "colour": 1}, "'colour': unknown key"),
    ],
)
def test_one_fault_is_enough(given_keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(InfoError) as raised:
        AgentInfo.of(given_keys)
    assert raised.value.faults == (fault,)


@pytest.mark.parametrize("value", [None, 5, "worker", ["name"], object()])
def test_something_else_is_no_info(value: object) -> None:
    with pytest.raises(InfoError, match="must return an AgentInfo or a dict"):
        AgentInfo.of(value)


@pytest.mark.parametrize("name", ["", " ", "x" * 91, None, 5, "\ud800"])
def test_names_that_cannot_be(name: Any) -> None:
    with pytest.raises(InfoError, match="name: "):
        AgentInfo(name, ("x",))


@pytest.mark.parametrize("words", [[], "math", [""], [" "], ["x" * 101], [5], None, ["\udfff"]])
def test_capabilities_that_cannot_be(words: Any) -> None:
    with pytest.raises(InfoError, match="capabilities: "):
        AgentInfo("w", words)


def test_the_limits_are_allowed() -> None:
    info = AgentInfo("x" * 90, tuple(f"{number:0100}" for number in range(64)))
    assert len(info.capabilities) == 64


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=90).filter(lambda text: bool(text.strip()))


@given(names, st.lists(names, min_size=1, max_size=64), st.sampled_from(list(AgentType)))
def test_an_info_comes_back_from_its_data(name: str, words: list[str], kind: AgentType) -> None:
    info = AgentInfo(name, tuple(words), kind, request_schema=Order, metadata={"a": [1]}, exclusive=True)
    data = msgspec.json.decode(msgspec.json.encode(info.to_data()))
    assert data["request_schema"]["$defs"]["Order"]["required"] == ["number"]
    again = AgentInfo.of(data)
    assert again == msgspec.structs.replace(info, request_schema=data["request_schema"])
    assert pickle.loads(pickle.dumps(info)) == info


def test_a_record_reads_like_a_dict() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = AgentRecord(uuid="u", name="worker", instance="worker/1", registered_at=now, last_seen=now)
    assert record["name"] == record.name == "worker"
    assert record["health"] == 100
    with pytest.raises(KeyError):
        record["password"]
    with pytest.raises(KeyError):
        record["__class__"]
    assert msgspec.json.decode(msgspec.json.encode(record), type=AgentRecord) == record
