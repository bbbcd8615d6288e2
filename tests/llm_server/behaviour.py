"""What the server does with one request, whichever wire format it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    # kind: status, OpenAI's error, Anthropic's error
    "unauthorized": (
        401,
        {"code": "invalid_api_key", "type": "invalid_request_error"},
        {"type": "authentication_error"},
    ),
    "forbidden": (403, {"code": "forbidden", "type": "invalid_request_error"}, {"type": "permission_error"}),
    "not_found": (404, {"code": "model_not_found", "type": "invalid_request_error"}, {"type": "not_found_error"}),
    "bad_request": (400, {"code": "bad", "type": "invalid_request_error"}, {"type": "invalid_request_error"}),
    "too_long": (
        400,
        {"code": "context_length_exceeded", "type": "invalid_request_error"},
        {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
    ),
    "filtered": (
        400,
        {"code": "content_policy_violation", "type": "invalid_request_error"},
        {"type": "content_filter"},
    ),
    "rate_limited": (429, {"code": "rate_limit_exceeded", "type": "requests"}, {"type": "rate_limit_error"}),
    "quota": (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, {"type": "billing_error"}),
    "server_error": (500, {"code": "server_error", "type": "server_error"}, {"type": "api_error"}),
    "unavailable": (503, {"code": "unavailable", "type": "server_error"}, {"type": "api_error"}),
    "overloaded": (529, {"code": "overloaded", "type": "server_error"}, {"type": "overloaded_error"}),
}


@dataclass(frozen=True)
class Behaviour:
    """One answer.

    text, calls (name, arguments as text): the answer. usage (input, output): None tells none.
    finish: the reason in OpenAI's words, "" for the usual one. kind: an error of KINDS. body: sent as it is, in place
    of all that. headers: beside the usual ones. silent: no headers come before the server is released.
    after: how many pieces of a stream come; then ``then`` happens: "hold" (nothing more before the server is
    released), "drop" (the connection is cut), "end" (a clean end without the last events).
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    usage: tuple[int, int] | None = (11, 7)
    finish: str = ""
    kind: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    after: int | None = None
    then: str = ""
    message: str = "no"

    @property
    def words(self) -> list[str]:
        """The text in pieces, as a stream brings it."""
        return [f"{word} " for word in self.text.split(" ")[:-1]] + self.text.split(" ")[-1:] if self.text else []


def say(text: str, **more: Any) -> Behaviour:
    """Answer with a text."""
    return Behaviour(text=text, **more)


def call(*calls: tuple[str, str], **more: Any) -> Behaviour:
    """Answer with tool calls, all at once."""
    return Behaviour(calls=calls, **more)


def failing(kind: str, **more: Any) -> Behaviour:
    """Refuse with an error of KINDS."""
    return Behaviour(kind=kind, **more)


def malformed() -> Behaviour:
    """Answer with a body that is no JSON."""
    return Behaviour(body=b"<html>gateway</html>", headers={"content-type": "application/json"})
