"""One request to one instance: written, sent, and its answer or its end read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shoal.errors import (
    AgentNotFoundError,
    BadPayload,
    DeadAgentError,
    DeadlockError,
    LeaseLostError,
    MailboxFullError,
    PayloadError,
    RequestError,
    RequestFailedError,
    RequestTimeout,
    ResponseTimeoutError,
    RuntimeNotStartedError,
    RuntimeStateError,
    RuntimeStoppingError,
    ShoalError,
)
from shoal.kernel.clock import epoch
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Clock
from shoal.kernel.trace import child_span, current_span, new_span
from shoal.services import codes
from shoal.services.balancer import Attempt
from shoal.services.info import AgentRecord
from shoal.services.requests import Envelope, RequestHeader, as_request_error, error_of, open_envelope
from shoal.services.retrying import Outcome

__all__ = ["REFUSED", "ask", "check_payload", "deadline_passed"]

REFUSED = "refused"
"""A key in the payload of an error: the request was not begun."""

_OF_THE_RUNTIME = (LeaseLostError, RuntimeNotStartedError, RuntimeStateError, RuntimeStoppingError)
_NEVER_BEGAN = (AgentNotFoundError, DeadlockError, MailboxFullError)

Send = Callable[[str, str, Any, float], Awaitable[AgentMessage]]
"""``send(recipient, message_type, data, seconds)`` asks an agent and returns its answer."""


def check_payload(payload: Any) -> None:
    """Raise RequestError (INVALID_FORMAT) unless *payload* is a dict."""
    if not isinstance(payload, dict):
        raise RequestError(codes.INVALID_FORMAT, f"a payload must be a dict, not {type(payload).__name__}")


async def ask(send: Send, clock: Clock, sender: str, record: AgentRecord, payload: Any, attempt: Attempt) -> Outcome:
    """Send one request and return how it ended. Raises RequestError, BadPayload: what is wrong with the request itself."""
    check_payload(payload)
    now = clock.micros()
    above = current_span.get()
    span = new_span(clock) if above is None else child_span(above, clock)
    header = RequestHeader(
        from_uuid=sender,
        to_uuid=record.uuid,
        event_uuid=attempt.event_uuid,
        type="request",
        timestamp=now,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        deadline=now + int(attempt.timeout * 1e6),
        attempt=attempt.number,
    )
    try:
        answer = await send(record.uuid, "request", Envelope(header, payload).to_data(), attempt.timeout)
    except PayloadError as error:
        told = as_request_error(error)
        raise BadPayload(told.code, told.message, told.details) from None
    except ShoalError as error:
        if isinstance(error, _OF_THE_RUNTIME) and not isinstance(error, RequestError):
            raise
        return _unanswered(error, record, attempt)
    return _read(answer.data)


def _unanswered(error: ShoalError, record: AgentRecord, attempt: Attempt) -> Outcome:
    if isinstance(error, DeadAgentError):
        return Outcome(error=_dead(error), began=getattr(error, "began", True) and error.reason != "not_running")
    told = as_request_error(error)
    if isinstance(error, ResponseTimeoutError) and not isinstance(error, RequestError):
        state = "" if record.state == "running" else f", which is {record.state}"
        text = f"no answer from {record.instance}{state}, within {round(attempt.timeout, 2):g} s"
        told = RequestTimeout(text, told.details)
    return Outcome(error=told, own=isinstance(error, RequestFailedError), began=not isinstance(error, _NEVER_BEGAN))


def _dead(error: DeadAgentError) -> RequestError:
    if error.reason == "draining":
        return RequestError(codes.DRAINING, str(error), {"agent_id": error.agent_id, "name": error.name})
    if error.reason == "cancelled":
        return RequestError(codes.CANCELLED, str(error), {"agent_id": error.agent_id, "name": error.name})
    return as_request_error(error)


def _read(data: Any) -> Outcome:
    try:
        envelope = open_envelope(data)
    except RequestError as error:
        return Outcome(error=error, own=True, began=True)
    if not envelope.failed:
        return Outcome(data=envelope.payload, began=True)
    refused = envelope.payload.get(REFUSED) is True
    return Outcome(error=error_of(envelope.payload), own=not refused, began=not refused)


def deadline_passed(header: RequestHeader, clock: Clock) -> bool:
    """Tell whether nobody waits for the answer any more."""
    return header.deadline is not None and epoch(clock.now()) >= header.deadline
