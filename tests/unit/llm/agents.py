"""Models for the tests of agents: they say what they are told to, and remember what they were asked."""

from __future__ import annotations

import json
from typing import Any

from shoal.llm.doubles import scripted
from shoal.llm.model import ModelRequest, ToolCall
from shoal.llm.script import Scripted

__all__ = ["asks", "call", "keeping"]


def call(name: str, number: int = 1, /, **arguments: Any) -> ToolCall:
    """Return a tool call."""
    return ToolCall(call_id=f"{name}-{number}", name=name, arguments=json.dumps(arguments))


def keeping(*replies: Any, **options: Any) -> tuple[Scripted, list[ModelRequest]]:
    """Return a model that gives *replies* in turn, and the list of what it was asked."""
    seen: list[ModelRequest] = []

    def said(reply: Any) -> Any:
        def say(request: ModelRequest) -> Any:
            seen.append(request)
            return reply(request) if callable(reply) and not isinstance(reply, type) else reply

        return say

    return scripted([said(reply) for reply in replies], **options), seen


def asks(request: ModelRequest) -> list[str]:
    """Return the messages of a request, as ``role: text``."""
    return [f"{message.role}: {message.content}" for message in request.messages]
