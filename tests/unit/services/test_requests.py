"""Headers, replies, times to the microsecond, envelopes, and errors that come out as they went in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import errors
from shoal.errors import (
    AgentDied,
    AgentNotFoundError,
    ChainTooDeep,
    ChainTooDeepError,
    DeadAgentError,
    Deadlock,
    DeadlockError,
    NotFound,
    RequestError,
    RequestTimeout,
    ResponseTimeoutError,
    ValidationFailed,
)
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.trace import Span
from shoal.services import codes
from shoal.services.requests import (
    Envelope,
    RequestHeader,
    as_request_error,
    error_of,
    error_payload,
    execution_error,
    micros_of,
    open_envelope,
    read_header,
    time_of,
)

NOON = 1_638_360_000_000_000
HEADER = RequestHeader(
    from_uuid="a", to_uuid="b", event_uuid="e", type="request", timestamp=NOON, trace_id="1" * 32, span_id="2" * 16,
    parent_span_id="3" * 16, deadline=NOON + 5, attempt=2, extra={"priority": 1},
)  # fmt: skip
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC))
words = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


# -- headers and times


@pytest.mark.spec("S7")
@pytest.mark.parametrize(("kind", "answer"), [("request", "response"), ("control", "control")])
def test_a_reply_swaps_the_two_and_keeps_the_event(kind: str, answer: str) -> None:
    reply = msgspec.structs.replace(HEADER, type=kind).reply(NOON + 7)
    assert (reply.from_uuid, reply.to_uuid, reply.event_uuid) == ("b", "a", "e")
    assert (reply.type, reply.timestamp, reply.deadline) == (answer, NOON + 7, None)
    assert (reply.trace_id, reply.attempt, reply.extra) == (HEADER.trace_id, 2, {"priority": 1})


@pytest.mark.spec("S7")
def test_the_time_of_the_specification() -> None:
    assert HEADER.sent_at == datetime(2021, 12, 1, 12, tzinfo=UTC)
    assert time_of(NOON) == "2021-12-01T12:00:00Z"
    assert micros_of("2021-12-01T12:00:00Z") == NOON
    assert epoch(HEADER.sent_at) == HEADER.timestamp == NOON


@pytest.mark.spec("S7")
@given(moments)
def test_times_keep_their_microseconds_both_ways(moment: datetime) -> None:
    micros = epoch(moment)
    assert from_epoch(micros) == moment
    assert micros_of(time_of(micros)) == micros
    assert datetime.fromisoformat(time_of(micros)) == moment
    header = msgspec.structs.replace(HEADER, timestamp=micros)
    back = open_envelope(msgspec.json.decode(msgspec.json.encode(Envelope(header, {}).to_data()))).header
    assert (back.timestamp, back.sent_at) == (micros, moment)


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    assert micros_of("2021-12-01T13:30:00+01:30") == micros_of("2021-12-01T12:00:00") == NOON
    assert epoch(datetime(2021, 12, 1, 13, tzinfo=timezone(timedelta(hours=1)))) == NOON


def test_a_header_knows_its_span() -> None:
    assert HEADER.span == Span("1" * 32, "2" * 16, "3" * 16)
    assert msgspec.structs.replace(HEADER, span_id=None).span is None


# -- envelopes


@given(st.dictionaries(words, values, max_size=3), st.booleans())
def test_an_envelope_comes_back_from_the_bus(payload: dict[str, Any], failed: bool) -> None:
    sent = Envelope(HEADER, payload, failed)
    data = msgspec.json.decode(msgspec.json.encode(sent.to_data()))
    assert set(data) == {"header", "payload"} | ({"failed"} if failed else set())
    assert open_envelope(data) == sent


def test_keys_of_others_are_kept_in_extra() -> None:
    header = read_header({**msgspec.to_builtins(HEADER), "hops": 3})
    assert header == msgspec.structs.replace(HEADER, extra={"hops": 3, "priority": 1})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "not nothing"),
        ("hello", "not str"),
        ({"payload": {}}, "header must be an object, not nothing"),
        ({"header": {}, "payload": [1]}, "payload must be an object, not list"),
        ({"header": {}, "payload": {}}, "from_uuid"),
        ({"header": {**msgspec.to_builtins(HEADER), "type": "shout"}, "payload": {}}, "shout"),
        ({"header": {**msgspec.to_builtins(HEADER), "timestamp": 1.5}, "payload": {}}, "timestamp"),
        ({"header": {**msgspec.to_builtins(HEADER), "timestamp": 10**30}, "payload": {}}, "timestamp"),
        ({"header": {**msgspec.to_builtins(HEADER), "attempt": 0}, "payload": {}}, "attempt"),
        ({"header": {**msgspec.to_builtins(HEADER), "extra": 5, "x": 1}, "payload": {}}, "extra"),
    ],
)
def test_what_is_no_envelope_is_told(data: Any, text: str) -> None:
    with pytest.raises(RequestError, match=text) as raised:
        open_envelope(data)
    assert raised.value.code == codes.INVALID_FORMAT


# -- errors


def test_the_codes_are_their_own_names() -> None:
    assert {getattr(codes, name) for name in codes.ALL} == codes.ALL
    assert len(codes.ALL) == 27


ERRORS = [
    (RequestTimeout("late"), codes.TIMEOUT, ResponseTimeoutError, TimeoutError),
    (AgentDied("gone", {"exit_code": -9}), codes.AGENT_DIED, DeadAgentError, ConnectionError),
    (NotFound("who", {"name": "x"}), codes.NOT_FOUND, AgentNotFoundError, LookupError),
    (Deadlock("a", {"cycle": ["a", "b", "a"]}), codes.DEADLOCK, DeadlockError, RuntimeError),
    (ChainTooDeep("deep", {"limit": 64}), codes.CHAIN_TOO_DEEP, ChainTooDeepError, RuntimeError),
    (ValidationFailed("bad", [{"path": "x", "message": "missing"}]), codes.VALIDATION_ERROR, RequestError, ValueError),
    (errors.CircuitOpen("open"), codes.CIRCUIT_OPEN, RequestError, errors.MessageError),
]


@pytest.mark.parametrize(("error", "code", "base", "other"), ERRORS, ids=lambda value: str(value))
def test_each_class_has_its_code_and_its_second_base(
    error: RequestError, code: str, base: type[Exception], other: type[Exception]
) -> None:
    assert error.code == code
    assert isinstance(error, base)
    assert isinstance(error, other)
    back = error_of(msgspec.json.decode(msgspec.json.encode(error_payload(error))))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert as_request_error(error) is error


@given(st.sampled_from(sorted(codes.ALL)) | words.filter(bool), words, values, st.booleans())
def test_every_error_comes_out_as_it_went_in(code: str, message: str, details: Any, retryable: bool) -> None:
    sent = RequestError(code, message, details, retryable)
    back = error_of(msgspec.json.decode(msgspec.json.encode(error_payload(sent))))
    assert (back.code, back.message, back.details, back.retryable) == (code, message, details, retryable)


KERNEL = [
    (DeadAgentError("'w' died", reason="died", exit_code=-9, name="w"), codes.AGENT_DIED),
    (DeadAgentError("'w' drains", reason="draining"), codes.DRAINING),
    (DeadAgentError("its time was over", reason="cancelled"), codes.CANCELLED),
    (AgentNotFoundError("w"), codes.NOT_FOUND),
    (ResponseTimeoutError("late"), codes.TIMEOUT),
    (errors.MessageExpiredError("late"), codes.TIMEOUT),
    (DeadlockError(["a", "b", "a"]), codes.DEADLOCK),
    (ChainTooDeepError(64), codes.CHAIN_TOO_DEEP),
    (errors.NoHandlerError("no"), codes.NOT_A_SERVER),
    (errors.MailboxFullError(["w"], 1000), codes.MAILBOX_FULL),
    (errors.PoolFullError("cpu", 104), codes.POOL_FULL),
    (errors.MessageTooLargeError(11, 10), codes.TOO_LARGE),
    (errors.PayloadError("x is a set"), codes.INVALID_FORMAT),
    (errors.AgentNameTakenError("w", node_id="n", since="now"), codes.AGENT_EXISTS),
    (errors.RegistryUnavailableError(), codes.REGISTRY_UNAVAILABLE),
    (errors.NotAllowedError("a", "b"), codes.UNAUTHORIZED),
    (errors.RequestFailedError("boom", error_type="KeyError"), codes.EXECUTION_ERROR),
    (asyncio.CancelledError(), codes.CANCELLED),
    (ValueError("boom"), codes.EXECUTION_ERROR),
]


@pytest.mark.parametrize(("error", "code"), KERNEL, ids=lambda value: type(value).__name__)
def test_what_the_runtime_raises_has_a_code(error: BaseException, code: str) -> None:
    found = as_request_error(error)
    assert found.code == code
    assert found.message
    back = error_of(msgspec.json.decode(msgspec.json.encode(error_payload(found))))
    assert vars(back) == vars(found)


def test_a_death_tells_the_exit_code() -> None:
    found = as_request_error(DeadAgentError("'w' died", reason="died", exit_code=-9, agent_id="1", name="w"))
    assert isinstance(found, AgentDied)
    assert (found.exit_code, found.reason, found.agent_id, found.name) == (-9, "died", "1", "w")
    assert found.began


def test_a_death_tells_when_the_request_had_surely_not_begun() -> None:
    found = as_request_error(DeadAgentError("'w' died", reason="died", began=False))
    assert isinstance(found, AgentDied)
    assert not found.began
    assert found.details == {"reason": "died", "began": False}


def test_what_a_service_raises_is_its_answer() -> None:
    business = RequestError("NO_MONEY", "come back later", {"until": 5}, retryable=True)
    assert execution_error(business) is business
    found = execution_error(KeyError("x"))
    assert (found.code, found.message, found.details) == (codes.EXECUTION_ERROR, "'x'", {"error_type": "KeyError"})
    # Not that the service died, but that its own call of another failed:
    assert execution_error(DeadAgentError("gone")).code == codes.EXECUTION_ERROR
    assert execution_error(RuntimeError()).message == "RuntimeError"


def test_an_error_that_cannot_be_sent_still_goes_out() -> None:
    payload = error_payload(RequestError("X", "\ud800" + "x" * 200_000, {"set": {1}}))
    assert len(msgspec.json.encode(payload)) < 110_000
    assert payload["code"] == "X"
    assert payload["details"] == {"unsendable": "details.set is a set"}


def test_errors_of_others_are_read() -> None:
    assert error_of({}).code == codes.SERVICE_ERROR
    strange = error_of({"error": 5, "code": codes.VALIDATION_ERROR, "details": "text"})
    assert (type(strange), strange.message, strange.details) == (RequestError, "5", "text")
    assert error_of({"code": codes.AGENT_DIED, "details": [1]}).code == codes.AGENT_DIED
