"""Messages of agent99: both round trips are exact, whatever stands in them; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import RequestError
from shoal.kernel.clock import from_epoch
from shoal.kernel.message import AgentMessage
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
from shoal.services import codes
from shoal.services.views import from_agent99, to_agent99

AT = 1_638_360_000_000_000
HEADER = {"from_uuid": "a", "to_uuid": "b", "event_uuid": "e", "type": "request", "timestamp": AT}
OPTIONAL = ("trace_id", "span_id", "parent_span_id", "deadline", "attempt")

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
words = st.text(min_size=1, max_size=40)
micros = st.integers(0, 253_402_300_799_999_999)
kinds = st.sampled_from(["request", "response", "control"])
theirs = st.fixed_dictionaries(
    {"from_uuid": words, "to_uuid": words, "event_uuid": words, "type": kinds, "timestamp": micros}
)
awkward = st.sampled_from([*OPTIONAL, "extra", "shoal", "message_id", "reply_to"])
unknown = st.dictionaries(
    awkward | st.text(max_size=6), values | st.sampled_from([None, 1, True, "t", 7, {}]), max_size=4
)
payloads = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key != "header") | st.sampled_from(["action", "data", "payload", "error"]),
    values,
    max_size=4,
)
foreign = st.builds(lambda header, more, fields: {"header": {**more, **header}, **fields}, theirs, unknown, payloads)
ours_only = {"trace_id": words, "span_id": words, "deadline": micros, "attempt": st.integers(1, 9), "extra": unknown}
headers = st.builds(lambda header, more: {**more, **header}, theirs, st.fixed_dictionaries({}, optional=ours_only))
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))
data = st.builds(
    lambda header, payload, more: {**more, "header": header, "payload": payload},
    headers,
    payloads,
    st.just({}) | st.just({"failed": True}) | st.dictionaries(words, values, max_size=2),
)
ours = st.builds(
    AgentMessage,
    message_id=words,
    sender_id=words,
    sender_name=words,
    recipient_ids=st.lists(words, max_size=3).map(tuple),
    message_type=kinds,
    data=data,
    timestamp=moments,
    correlation_id=st.none() | words,
    expires_at=st.none() | moments,
    topic=st.none() | words,
    durable=st.booleans(),
    expects_reply=st.booleans(),
    delivery_count=st.integers(1, 5),
    chain=st.lists(words, max_size=3).map(tuple),
)


def _json(value: object) -> bytes:
    """Text that tells 1, 1.0 and true apart."""
    return msgspec.json.encode(value, order="deterministic")


@pytest.mark.spec("S39")
@given(foreign)
def test_a_message_of_agent99_comes_back_as_it_was(message: dict[str, Any]) -> None:
    through = from_agent99(message)
    assert _json(to_agent99(through)) == _json(message)
    assert _json(to_agent99(msgspec.json.decode(msgspec.json.encode(through), type=AgentMessage))) == _json(message)


@pytest.mark.spec("S39")
@given(ours)
def test_a_message_of_ours_comes_back_as_it_was(message: AgentMessage) -> None:
    wire = msgspec.json.decode(msgspec.json.encode(to_agent99(message)))
    back = from_agent99(wire)
    assert back == message
    assert _json(back) == _json(message)


@pytest.mark.spec("S39")
@given(ours)
def test_what_ours_became_passes_through_an_agent_of_theirs(message: AgentMessage) -> None:
    """It may add keys of its own to the header and to the fields, and is given back what it sent."""
    wire = to_agent99(message)
    wire["header"]["hops"] = 3
    wire["more"] = [1]
    assert _json(to_agent99(from_agent99(wire))) == _json(wire)


@pytest.mark.spec("S39")
@given(foreign.map(lambda message: {**message, "header": {**message["header"], "shoal": {}}}) | foreign, values)
def test_a_key_shoal_that_is_not_ours_is_only_kept(message: dict[str, Any], junk: Any) -> None:
    message["header"]["shoal"] = {"sender_name": "somebody", "data": junk, "header": junk, "message_id": junk}
    assert _json(to_agent99(from_agent99(message))) == _json(message)


orders = st.builds(
    lambda required, extra, order, expected: {
        **extra, **required,
        "task": {**order, "description": "d"},
        "expected_output": {**expected, "files": ["a.py"], "tests": "all passing", "coverage": "80%"},
    },
    st.fixed_dictionaries({name: words.filter(str.strip) for name in ("message_id", "from_agent", "to_agent", "task_type")}
                          | {"priority": st.sampled_from(["high", "low", 3]), "context": st.dictionaries(words, values)}),
    st.dictionaries(words.map("x_{}".format), values, max_size=3),
    st.dictionaries(words.map("x_{}".format), values, max_size=3).map(
        lambda more: {"requirements": ["r"], "input_data": {}, **more}),
    st.dictionaries(words.map("x_{}".format), values, max_size=3),
)  # fmt: skip


@pytest.mark.spec("S39")
@given(orders)
def test_messages_of_work_keep_unknown_keys_both_ways(message: dict[str, Any]) -> None:
    through = WorkMessage.from_json(message, strict=False).to_agent_message(datetime(2026, 1, 1, tzinfo=UTC))
    back = WorkMessage.from_agent_message(msgspec.json.decode(msgspec.json.encode(through), type=AgentMessage))
    assert _json(msgspec.json.decode(back.to_json())) == _json(msgspec.json.decode(_json(message)))
    again = WorkMessage.from_agent_message(back.to_agent_message(datetime(2026, 1, 1, tzinfo=UTC)))
    assert again == back


@pytest.mark.spec("S39")
def test_an_order_of_ours_comes_back_as_it_was() -> None:
    order = WorkMessage(
        message_id="msg_1", from_agent="a", to_agent="b", task_type="review", priority="high",
        context={"k": [1, None]}, task=WorkOrder("d", ("r",), {"x": 1}), expected_output=ExpectedOutput(("a.py",)),
    )  # fmt: skip
    assert WorkMessage.from_json(order.to_json(), strict=False) == order


def test_what_stands_where() -> None:
    message = from_agent99({"header": {**HEADER, "priority": 5, "trace_id": "t"}, "operation": "get", "key": 1})
    assert (message.sender_id, message.recipient_ids, message.message_type) == ("a", ("b",), "request")
    assert message.correlation_id == "e"
    assert message.timestamp == datetime(2021, 12, 1, 12, tzinfo=UTC)
    assert message.data["payload"] == {"operation": "get", "key": 1}
    assert message.data["header"]["extra"] == {"priority": 5}
    assert message.data["header"]["trace_id"] == "t"
    assert "shoal" not in to_agent99(message)["header"]


def test_what_has_no_place_there_is_in_one_key() -> None:
    message = msgspec.structs.replace(
        from_agent99({"header": HEADER, "x": 1}), durable=True, expires_at=from_epoch(AT) + timedelta(seconds=1)
    )
    wire = to_agent99(message)
    assert wire == {
        "header": {**HEADER, "shoal": {"durable": True, "expires_at": "2021-12-01T12:00:01Z"}},
        "x": 1,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"header": 5},
        {"header": {}},
        {"header": {**HEADER, "timestamp": "noon"}},
        {"header": {**HEADER, "type": "shout"}},
        {"header": {**HEADER, "from_uuid": ""}},
        {"header": HEADER, "x": {1, 2}},
        {"header": HEADER, "x": float("nan")},
        {"header": HEADER, "x": b"bytes"},
    ],
)
def test_what_is_no_message_of_agent99_is_refused(wrong: Any) -> None:
    with pytest.raises(RequestError) as raised:
        from_agent99(wrong)
    assert raised.value.code == codes.INVALID_FORMAT


@pytest.mark.spec("S49")
def test_a_payload_with_the_key_header_cannot_travel() -> None:
    message = from_agent99({"header": HEADER})
    data = {**message.data, "payload": {"header": 1}}
    with pytest.raises(RequestError, match="header") as raised:
        to_agent99(msgspec.structs.replace(message, data=data))
    assert raised.value.code == codes.INVALID_FORMAT


def test_only_messages_of_services_have_this_view() -> None:
    message = from_agent99({"header": HEADER})
    with pytest.raises(RequestError, match="INVALID_FORMAT"):
        to_agent99(msgspec.structs.replace(message, data="hello"))
