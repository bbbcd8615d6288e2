"""The message of work: exact keys and order, round trips, the agent message, and what is refused by its path."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import MessageError, WorkMessageError
from shoal.kernel.message import AgentMessage
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.message import WorkMessage, WorkOrder

AT = datetime(2026, 1, 1, tzinfo=UTC)
SEED = """{
  "message_id": "msg_123",
  "from_agent": "orchestrator",
  "to_agent": "developer",
  "task_type": "implementation",
  "priority": "high",
  "context": {
    "project": "auth-api",
    "language": "python",
    "framework": "fastapi"
  },
  "task": {
    "description": "Implement JWT authentication",
    "requirements": [
      "Access token (15min)",
      "Refresh token (7 days)",
      "Rate limiting",
      "Secure password hashing"
    ],
    "input_data": {
      "research_results": "...",
      "api_spec": "..."
    }
  },
  "expected_output": {
    "files": ["auth.py", "test_auth.py"],
    "tests": "all passing",
    "coverage": ">80%"
  }
}"""


def _seed(**changes: Any) -> dict[str, Any]:
    return {**json.loads(SEED), **changes}


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in _seed().items() if name != key}


def _task(**changes: Any) -> dict[str, Any]:
    return _seed(task={**json.loads(SEED)["task"], **changes})


@pytest.mark.spec("W3")
def test_the_message_has_exactly_these_keys_in_this_order() -> None:
    message = WorkMessage.from_json(SEED)
    text = message.to_json()
    assert text.splitlines()[:2] == ["{", '  "message_id": "msg_123",']
    # equal down to the order of keys, which dicts do not compare
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(SEED))
    assert WorkMessage.from_json(text) == message
    assert WorkMessage.from_json(text).to_json() == text
    assert WorkMessage.from_json(SEED.encode()) == WorkMessage.from_json(json.loads(SEED)) == message


@pytest.mark.spec("W3")
def test_the_agent_message_loses_nothing() -> None:
    message = WorkMessage.from_json(SEED)
    sent = message.to_agent_message(AT)
    assert (sent.message_type, sent.message_id, sent.timestamp) == ("work", "msg_123", AT)
    assert (sent.sender_id, sent.sender_name, sent.recipient_ids) == ("orchestrator", "orchestrator", ("developer",))
    stored = msgspec.json.decode(msgspec.json.encode(sent), type=AgentMessage)
    assert WorkMessage.from_agent_message(stored) == message
    assert WorkMessage.from_agent_message(stored).to_json() == message.to_json()


@pytest.mark.spec("W3")
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (_without("task"), "task: missing"),
        (_seed(priority="urgent"), "priority: 'urgent' is not high, medium, low or 0 to 100"),
        (_seed(priority=101), "priority: 101 is not high, medium, low or 0 to 100"),
        (_seed(priority=-1), "priority: -1 is not high, medium, low or 0 to 100"),
        (_seed(priority=True), "priority: True is not high, medium, low or 0 to 100"),
        (_seed(priority=50.0), "priority: 50.0 is not high, medium, low or 0 to 100"),
        (_task(deadline="today"), "task.deadline: unknown key"),
        (_seed(deadline="today"), "deadline: unknown key"),
        (_seed(expected_output={"speed": 1}), "expected_output.speed: unknown key"),
        (_task(description=None), "task.description: missing"),
        (_without("message_id"), "message_id: missing"),
        (_without("from_agent"), "from_agent: missing"),
        (_without("to_agent"), "to_agent: missing"),
        (_without("task_type"), "task_type: missing"),
        (_without("priority"), "priority: missing"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(data: dict[str, Any], fault: str) -> None:
    for given_as in (data, json.dumps(data)):
        with pytest.raises(WorkMessageError) as refused:
            WorkMessage.from_json(given_as)
        assert str(refused.value) == fault
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, MessageError)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (_seed(to_agent=""), "to_agent: '' must be a text"),
        (_seed(to_agent=7), "to_agent: 7 must be a text"),
        (_seed(context=[]), "context: [] must be an object"),
        (_seed(task="x"), "task: 'x' is no object"),
        (_task(requirements="fast"), "task.requirements: 'fast' must be a list of texts"),
        (_task(input_data=[1]), "task.input_data: [1] must be an object"),
        (_seed(expected_output=[]), "expected_output: [] is no object"),
        (_seed(expected_output={"coverage": "lots"}), "expected_output.coverage='lots': it must be a number from 0"),
        (_seed(expected_output={"tests": "green"}), "expected_output.tests='green': it must be 'all passing', 'N"),
        (_seed(expected_output={"files": ["../a"]}), "expected_output.files: the path '../a' has '..'"),
        ("{", "the message is no JSON"),
        ("[1]", "the message must be an object, not [1]"),
        ('{"context": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "the message is no JSON"),
        ('{"a": "\\ud800"}', "the message is no JSON"),
        (b"\xff", "the message is no JSON"),
        (None, "the message is no JSON"),
        ({"context": {"at": AT}}, "the message is no JSON"),
    ],
)
def test_odd_values_are_refused(data: Any, fault: str) -> None:
    with pytest.raises(WorkMessageError) as refused:
        WorkMessage.from_json(data)
    assert fault in str(refused.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(WorkMessageError) as refused:
        WorkMessage.from_json(_seed(task=None, priority=7.5, x=1))
    assert str(refused.value) == "priority: 7.5 is not high, medium, low or 0 to 100; task: missing; x: unknown key"


def test_unknown_keys_are_kept_when_they_are_allowed() -> None:
    data = _task(deadline="today") | {"trace": [1], "expected_output": {"files": [], "speed": {"ms": 5}}}
    message = WorkMessage.from_json(data, strict=False)
    again = json.loads(message.to_json())
    assert again["task"] == data["task"]
    assert again["trace"] == [1]
    assert again["expected_output"] == {"files": [], "tests": "", "coverage": "", "speed": {"ms": 5}}
    assert WorkMessage.from_agent_message(message.to_agent_message(AT)) == message
    assert msgspec.json.decode(msgspec.json.encode(message), type=WorkMessage) == message


def test_a_record_is_checked_when_it_is_made() -> None:
    with pytest.raises(WorkMessageError, match="priority: 'urgent' is not"):
        _made(priority="urgent")
    with pytest.raises(WorkMessageError, match="from_agent: '' must be"):
        _made(from_agent="")
    with pytest.raises(WorkMessageError, match=r"task\.description: '' must be"):
        _made(task=WorkOrder(""))
    with pytest.raises(WorkMessageError, match="is not a WorkOrder"):
        _made(task={"description": "x"})
    with pytest.raises(WorkMessageError, match="is no JSON value"):
        _made(context={"at": AT}).to_json()
    with pytest.raises(ValueError, match="time zone"):
        _made().to_agent_message(AT.replace(tzinfo=None))
    with pytest.raises(WorkMessageError, match="message_type: 'chat' is not 'work'"):
        WorkMessage.from_agent_message(msgspec.structs.replace(_made().to_agent_message(AT), message_type="chat"))


def test_a_priority_goes_out_as_it_came_in() -> None:
    for priority in ("high", "medium", "low", 0, 55, 100):
        assert json.loads(_made(priority=priority).to_json())["priority"] == priority


def _made(**fields: Any) -> WorkMessage:
    known: dict[str, Any] = {
        "message_id": "msg_1",
        "from_agent": "orchestrator",
        "to_agent": "developer",
        "task_type": "work",
        "priority": "medium",
        "task": WorkOrder("Do it"),
    }
    return WorkMessage(**{**known, **fields})


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAME = TEXT.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
EXPECTED = st.builds(
    ExpectedOutput,
    files=st.lists(st.sampled_from(["auth.py", "src/a b.py", "ä.py"]), max_size=3).map(tuple),
    tests=st.sampled_from(["", "all passing", "14 passing"]),
    coverage=st.sampled_from(["", ">80%", "80", "<= 12.5 %", "=100%"]),
)
MESSAGES = st.builds(
    WorkMessage,
    message_id=NAME,
    from_agent=NAME,
    to_agent=NAME,
    task_type=NAME,
    priority=st.sampled_from(["high", "medium", "low"]) | st.integers(0, 100),
    context=OBJECT,
    task=st.builds(WorkOrder, description=NAME, requirements=st.lists(TEXT, max_size=3).map(tuple), input_data=OBJECT),
    expected_output=EXPECTED,
)


@given(MESSAGES)
def test_every_message_comes_back_from_its_json_and_from_its_agent_message(message: WorkMessage) -> None:
    assert WorkMessage.from_json(message.to_json()) == message
    assert WorkMessage.from_agent_message(message.to_agent_message(AT)) == message


@given(MESSAGES, OBJECT, OBJECT)
def test_unknown_keys_of_any_name_come_back(message: WorkMessage, top: dict[str, Any], task: dict[str, Any]) -> None:
    data = json.loads(message.to_json())
    data["task"] = {**task, **data["task"]}
    data = {**top, **data}
    read = WorkMessage.from_json(data, strict=False)
    assert json.loads(read.to_json()) == data
    assert WorkMessage.from_json(read.to_json(), strict=False) == read


@given(st.one_of(st.text(max_size=60), JSON, st.binary(max_size=30)))
def test_nothing_but_the_one_error_is_raised(data: Any) -> None:
    with pytest.raises(WorkMessageError):
        WorkMessage.from_json(data)
