"""Messages of agent99 (https://github.com/MadBomber/agent99) as messages of Shoal, and back.

There the header stands beside the fields of the payload, in one object. What an agent99 message has no place for travels
in one key of its header, ``shoal``; what its header has that is not known here is kept in ``header.extra``. So both
round trips are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.errors import PayloadError, RequestError
from shoal.kernel.clock import from_epoch
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.services import codes
from shoal.services.requests import Envelope, RequestHeader, open_envelope, read_header

__all__ = ["from_agent99", "to_agent99"]

HEADER = "header"
OURS = "shoal"
_THEIRS = ("from_uuid", "to_uuid", "event_uuid", "type", "timestamp")
_OPTIONAL = ("trace_id", "span_id", "parent_span_id", "deadline", "attempt")
_ENVELOPE = (HEADER, "payload")


def to_agent99(message: AgentMessage) -> dict[str, Any]:
    """Return a service's message as agent99 sends it.

    Raises:
        RequestError: INVALID_FORMAT: it is no service's message, or its payload has the key ``header``.
    """
    plain = _plain(message)
    return plain if _same(from_agent99(plain), message) else _marked(message)


def from_agent99(message: Mapping[str, Any]) -> AgentMessage:
    """Return a message of agent99 as the AgentMessage that ``to_agent99`` turns into it.

    Raises:
        RequestError: INVALID_FORMAT: it is no object with a header of ``from_uuid``, ``to_uuid``, ``event_uuid``,
            ``type`` and ``timestamp``, or something in it is no JSON value.
    """
    given = _checked(message)
    if OURS in given[HEADER]:
        ours = _read_marked(given)
        if ours is not None and _same(to_agent99(ours), given):
            return ours
    return _read_plain(given)


def _checked(message: object) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get(HEADER), Mapping):
        raise RequestError(codes.INVALID_FORMAT, "a message of agent99 is an object with the object 'header' in it")
    try:
        copy, _ = checked(dict(message), "message")
    except PayloadError as error:
        raise RequestError(codes.INVALID_FORMAT, str(error)) from None
    assert isinstance(copy, dict)
    return copy


def _read_plain(given: dict[str, Any]) -> AgentMessage:
    """Read it without regard to ``shoal``: what it does not say follows from its header."""
    theirs = given[HEADER]
    known = {key: value for key, value in theirs.items() if key in _THEIRS or _is_set(key, value)}
    extra = {key: value for key, value in theirs.items() if key not in known}
    header = read_header({**known, "extra": extra} if extra else known)
    payload = {key: value for key, value in given.items() if key != HEADER}
    event = header.event_uuid
    return AgentMessage(
        message_id=event if header.type == "request" else f"{event}/{header.type}",
        sender_id=header.from_uuid,
        sender_name=header.from_uuid,
        recipient_ids=(header.to_uuid,),
        message_type=header.type,
        data=Envelope(header, payload).to_data(),
        timestamp=from_epoch(header.timestamp),
        correlation_id=event,
        expects_reply=header.type == "request",
    )


def _is_set(key: str, value: Any) -> bool:
    """Tell whether a header of agent99 that has this says it in our sense, so that it would be written again."""
    if key not in _OPTIONAL:
        return False
    try:
        header = msgspec.convert({**_SOME, key: value}, RequestHeader)
    except msgspec.ValidationError:
        return False
    return key in msgspec.to_builtins(header)


_SOME = {"from_uuid": "a", "to_uuid": "b", "event_uuid": "c", "type": "request", "timestamp": 0}


def _plain(message: AgentMessage) -> dict[str, Any]:
    """Write it without ``shoal``; what has no place is left out."""
    envelope = open_envelope(message.data)
    if HEADER in envelope.payload:
        raise RequestError(codes.INVALID_FORMAT, "the payload has the key 'header', which agent99 keeps for its own")
    header = msgspec.to_builtins(envelope.header)
    extra = header.pop("extra", {})
    more = {key: value for key, value in extra.items() if key not in _THEIRS and not _is_set(key, value)}
    return {HEADER: more | header, **envelope.payload}


def _marked(message: AgentMessage) -> dict[str, Any]:
    """Write it with all that has no place in ``shoal``."""
    plain = _plain(message)
    plain[HEADER].pop(OURS, None)
    said, followed = _fields(message), _fields(_read_plain(plain))
    ours = {key: value for key, value in said.items() if not _same(value, followed[key])}
    if not _same(message.data[HEADER], _read_plain(plain).data[HEADER]):
        ours[HEADER] = message.data[HEADER]
    more = {key: value for key, value in message.data.items() if key not in _ENVELOPE}
    if more:
        ours["data"] = more
    plain[HEADER][OURS] = ours
    return plain


def _read_marked(given: dict[str, Any]) -> AgentMessage | None:
    """Read it with ``shoal``; None: that is not ours."""
    ours = given[HEADER][OURS]
    if not isinstance(ours, dict):
        return None
    message = _read_plain({**given, HEADER: {key: value for key, value in given[HEADER].items() if key != OURS}})
    more = ours.get("data", {})
    if not isinstance(more, dict):
        return None
    data = {**message.data, HEADER: ours.get(HEADER, message.data[HEADER]), **more}
    fields = {**_fields(message), **{key: value for key, value in ours.items() if key not in (HEADER, "data")}}
    try:
        found = msgspec.convert({**fields, "data": data}, AgentMessage)
        open_envelope(found.data)
    except (msgspec.ValidationError, RequestError):
        return None
    return found


def _fields(message: AgentMessage) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(message)
    del fields["data"]
    return fields


def _same(one: object, other: object) -> bool:
    """Tell whether both are the same JSON, where 1, 1.0 and true are three."""
    return msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(other, order="deterministic")
