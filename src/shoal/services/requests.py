"""Requests as they travel: the header, the envelope around header and payload, and errors as answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from shoal.errors import (
    AgentDied,
    AgentNameTakenError,
    AgentNotFoundError,
    ChainTooDeep,
    ChainTooDeepError,
    CircuitOpen,
    DeadAgentError,
    Deadlock,
    DeadlockError,
    MailboxFullError,
    MessageExpiredError,
    NoHandlerError,
    NotAllowedError,
    NotFound,
    PayloadError,
    PayloadTooLargeError,
    PoolFullError,
    RegistryUnavailableError,
    RequestError,
    RequestFailedError,
    RequestTimeout,
    ResponseTimeoutError,
    SelfSendError,
    ValidationFailed,
)
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.failure import Failure
from shoal.kernel.payload import checked
from shoal.kernel.trace import Span
from shoal.services import codes

__all__ = [
    "Envelope",
    "RequestHeader",
    "as_request_error",
    "error_of",
    "error_payload",
    "execution_error",
    "micros_of",
    "open_envelope",
    "read_header",
    "time_of",
]

Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
Uuid = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
ERROR_CHARS = 100_000


def time_of(micros: int) -> str:
    """Return a timestamp for people and JSON: 1638360000000000 is ``2021-12-01T12:00:00Z``.

    Microseconds follow the seconds where there are any.
    """
    return from_epoch(micros).isoformat().removesuffix("+00:00") + "Z"


def micros_of(text: str) -> int:
    """Return the whole microseconds since 1970 of an ISO 8601 time; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return epoch(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


class RequestHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks whom about what.

    Attributes:
        from_uuid, to_uuid: of the instances; the reply swaps them.
        event_uuid: of the request; its reply has the same.
        type: ``request``, ``response`` or ``control``.
        timestamp: whole microseconds since 1970, UTC.
        trace_id, span_id, parent_span_id: where in which trace it stands.
        deadline: whole microseconds since 1970 after which nobody waits for the answer.
        attempt: 1, and one more for each time that it is sent to somebody else.
        extra: keys of a header of somebody else that are not known here.
    """

    from_uuid: Uuid
    to_uuid: Uuid
    event_uuid: Uuid
    type: Literal["request", "response", "control"]
    timestamp: Micros
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    deadline: Micros | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1)] = 1
    extra: dict[str, Any] = {}

    @property
    def sent_at(self) -> datetime:
        """When it was sent, aware UTC."""
        return from_epoch(self.timestamp)

    @property
    def span(self) -> Span | None:
        """The span in which it was sent, where it has one."""
        if self.trace_id is None or self.span_id is None:
            return None
        return Span(self.trace_id, self.span_id, self.parent_span_id)

    def reply(self, now: int) -> RequestHeader:
        """Return the header of its reply, sent at *now* (microseconds): of type ``control`` to one of that type."""
        return RequestHeader(
            from_uuid=self.to_uuid,
            to_uuid=self.from_uuid,
            event_uuid=self.event_uuid,
            type="control" if self.type == "control" else "response",
            timestamp=now,
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent_span_id,
            attempt=self.attempt,
            extra=self.extra,
        )


_KNOWN = frozenset(RequestHeader.__struct_fields__)


class Envelope(msgspec.Struct, frozen=True):
    """A header and its payload. ``failed``: the payload is what ``error_payload`` made of an error."""

    header: RequestHeader
    payload: dict[str, Any]
    failed: bool = False

    def to_data(self) -> dict[str, Any]:
        """Return it as the data of an AgentMessage."""
        data = {"header": msgspec.to_builtins(self.header), "payload": self.payload}
        return {**data, "failed": True} if self.failed else data


def open_envelope(data: object) -> Envelope:
    """Return the envelope in the data of an AgentMessage.

    Raises:
        RequestError: INVALID_FORMAT: it is none; the text says why.
    """
    if not isinstance(data, Mapping):
        raise RequestError(codes.INVALID_FORMAT, f"a service message must be an object, not {_kind(data)}")
    header, payload = data.get("header"), data.get("payload")
    if not isinstance(header, Mapping):
        raise RequestError(codes.INVALID_FORMAT, f"header must be an object, not {_kind(header)}")
    if not isinstance(payload, dict):
        raise RequestError(codes.INVALID_FORMAT, f"payload must be an object, not {_kind(payload)}")
    return Envelope(read_header(header), payload, data.get("failed") is True)


def read_header(header: Mapping[str, Any]) -> RequestHeader:
    """Return the header in an object; keys that are not known stand in ``extra``.

    Raises:
        RequestError: INVALID_FORMAT: a key is missing, or its value cannot be.
    """
    if not header.keys() <= _KNOWN:
        unknown = {key: value for key, value in header.items() if key not in _KNOWN}
        known = {key: value for key, value in header.items() if key in _KNOWN}
        given = known.get("extra", {})
        header = known | {"extra": unknown | given if isinstance(given, dict) else given}
    try:
        return msgspec.convert(header, RequestHeader)
    except msgspec.ValidationError as error:
        raise RequestError(codes.INVALID_FORMAT, f"header: {error}") from None


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


# -- errors as answers

_BY_CODE: dict[str, type[RequestTimeout | AgentDied | NotFound | Deadlock | ChainTooDeep | CircuitOpen]] = {
    codes.TIMEOUT: RequestTimeout,
    codes.AGENT_DIED: AgentDied,
    codes.NOT_FOUND: NotFound,
    codes.DEADLOCK: Deadlock,
    codes.CHAIN_TOO_DEEP: ChainTooDeep,
    codes.CIRCUIT_OPEN: CircuitOpen,
}


def error_payload(error: RequestError) -> dict[str, Any]:
    """Return *error* as the payload of an answer: ``error`` (the text), ``code``, ``details``, ``retryable`` if it is."""
    details = error.details
    try:
        checked(details, "details")
    except PayloadError as fault:
        details = {"unsendable": str(fault)}
    payload = {"error": _printable(error.message), "code": _printable(error.code), "details": details}
    return {**payload, "retryable": True} if error.retryable else payload


def error_of(payload: Mapping[str, Any]) -> RequestError:
    """Return the error in the payload of an answer, of the class that its code has."""
    code, details = str(payload.get("code") or codes.SERVICE_ERROR), payload.get("details")
    message, retryable = str(payload.get("error") or ""), payload.get("retryable") is True
    if code == codes.VALIDATION_ERROR and _are_violations(details):
        return ValidationFailed(message, details, retryable)
    cls = _BY_CODE.get(code)
    return RequestError(code, message, details, retryable) if cls is None else cls(message, details, retryable)


def _are_violations(details: object) -> bool:
    return isinstance(details, list) and all(isinstance(violation, dict) for violation in details)


def _printable(text: object) -> str:
    return str(text)[:ERROR_CHARS].encode(errors="replace").decode()


_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (DeadlockError, codes.DEADLOCK),
    (ChainTooDeepError, codes.CHAIN_TOO_DEEP),
    (DeadAgentError, codes.AGENT_DIED),
    (AgentNotFoundError, codes.NOT_FOUND),
    (ResponseTimeoutError, codes.TIMEOUT),
    (MessageExpiredError, codes.TIMEOUT),
    (NoHandlerError, codes.NOT_A_SERVER),
    (RequestFailedError, codes.EXECUTION_ERROR),
    (PoolFullError, codes.POOL_FULL),
    (MailboxFullError, codes.MAILBOX_FULL),
    (PayloadTooLargeError, codes.TOO_LARGE),
    (PayloadError, codes.INVALID_FORMAT),
    (AgentNameTakenError, codes.AGENT_EXISTS),
    (RegistryUnavailableError, codes.REGISTRY_UNAVAILABLE),
    (NotAllowedError, codes.UNAUTHORIZED),
    (SelfSendError, codes.DEADLOCK),
    (asyncio.CancelledError, codes.CANCELLED),
)
_BY_REASON = {"draining": codes.DRAINING, "cancelled": codes.CANCELLED}
_DETAILS = ("reason", "exit_code", "agent_id", "name", "cycle", "limit", "path", "error_type", "recipients")


def as_request_error(error: BaseException) -> RequestError:
    """Return what the runtime raised when a request was sent or waited for as a RequestError, with the code it has.

    What ended the request for another reason is EXECUTION_ERROR.
    """
    if isinstance(error, RequestError):
        return error
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None:
        return execution_error(error)
    known = {name: getattr(error, name, None) for name in _DETAILS}
    details = {name: _listed(value) for name, value in known.items() if value is not None}
    if isinstance(error, DeadAgentError):
        code = _BY_REASON.get(error.reason, code)
        details |= {} if error.began else {"began": False}
    return error_of({"code": code, "error": _text(error), "details": details or None})


def execution_error(error: BaseException) -> RequestError:
    """Return what a service's own code raised as the error it answers: a RequestError as it is, else
    EXECUTION_ERROR with its text."""
    if isinstance(error, RequestError):
        return error
    failure = Failure.brief(error)
    return RequestError(codes.EXECUTION_ERROR, _text(error), {"error_type": failure.error_type})


def _text(error: BaseException) -> str:
    failure = Failure.brief(error)
    return failure.message or failure.error_type


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
