"""Our records and those of pydantic-ai, in both directions. Imported with the first real model only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from pydantic import ValidationError
from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.messages import ModelRequest as PaiRequest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from shoal.kernel.usage import Usage
from shoal.llm.headers import idempotency_key
from shoal.llm.model import ChatMessage, ModelDelta, ModelReply, ModelRequest, ToolCall, ToolSpec

__all__ = ["broken_off", "delta_of", "messages_of", "parameters_of", "reply_of", "settings_of"]

SAYS_WHY = ("anthropic",)  # who always tells why a reply ended; other servers may leave it out
REASONS: Mapping[str, str] = {"tool_call": "tool_calls", "error": "incomplete"}


def messages_of(request: ModelRequest) -> list[ModelMessage]:
    """Return the conversation; what stands between two replies becomes one message."""
    found: list[ModelMessage] = []
    asked: list[ModelRequestPart] = []
    for message in request.messages:
        if message.role == "user":
            asked.append(UserPromptPart(message.content))
        elif message.role == "tool":
            asked.append(ToolReturnPart(message.name, message.content, message.call_id))
        else:
            if asked:
                found.append(PaiRequest(asked))
                asked = []
            found.append(_reply_again(message))
    if asked:
        found.append(PaiRequest(asked))
    return found


def _reply_again(message: ChatMessage) -> ModelResponse:
    """Return a turn of the model as it was: the provider's own parts, when they still say what the message says."""
    if message.state:
        try:
            (kept,) = ModelMessagesTypeAdapter.validate_json(message.state)
        except ValidationError:  # of another version: what was said can be sent all the same
            kept = None
        if isinstance(kept, ModelResponse) and _said(kept) == (message.content, message.tool_calls):
            return kept
    parts: list[ModelResponsePart] = [TextPart(message.content)] if message.content else []
    parts += [ToolCallPart(call.name, call.arguments, call.call_id) for call in message.tool_calls]
    return ModelResponse(parts)


def parameters_of(request: ModelRequest) -> ModelRequestParameters:
    """Return the system text, the tools, and the output tool if one is forced."""
    output = request.output_schema
    return ModelRequestParameters(
        function_tools=[_definition(tool) for tool in request.tools],
        output_mode="text" if output is None else "tool",
        output_tools=[] if output is None else [_definition(output, output=True)],
        allow_text_output=output is None,
        instruction_parts=[InstructionPart(content=request.system)] if request.system else None,
    )


def _definition(tool: ToolSpec, *, output: bool = False) -> ToolDefinition:
    return ToolDefinition(
        name=tool.name,
        parameters_json_schema=tool.parameters or {"type": "object", "properties": {}},
        description=tool.description or None,
        kind="output" if output else "function",
    )


def settings_of(request: ModelRequest, own: Mapping[str, Any], left_out: frozenset[str]) -> ModelSettings:
    """Return the settings of one attempt: *own* of the model, those of the request, and what makes it one attempt.

    The SDKs' own retries are off; the time-out bounds the whole attempt. *left_out*: what need not be said of that.
    """
    merged: dict[str, Any] = {**own, **request.settings}
    headers = {**own.get("extra_headers", {}), **request.settings.get("extra_headers", {})}
    if request.key:
        headers["Idempotency-Key"] = idempotency_key(request.key)
    merged |= {"max_retries": 0, "extra_headers": headers}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(request, name)) is not None:
            merged[name] = value
    if request.timeout is not None:
        merged["request_timeout"] = request.timeout
    for name in ("max_retries", "extra_headers"):
        if name in left_out:
            del merged[name]
    return cast(ModelSettings, merged)


def delta_of(event: ModelResponseStreamEvent) -> ModelDelta | None:
    """Return what an event brings; None when it is nothing to show."""
    if isinstance(event, PartStartEvent):
        if isinstance(event.part, TextPart) and event.part.content:
            return ModelDelta(text=event.part.content)
        if isinstance(event.part, ToolCallPart):
            return ModelDelta(
                tool_call=ToolCall(call_id=event.part.tool_call_id, name=event.part.tool_name, arguments="")
            )
    elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta) and event.delta.content_delta:
        return ModelDelta(text=event.delta.content_delta)
    return None


def broken_off(response: ModelResponse) -> bool:
    """Return whether a stream ended before the reply did."""
    silent = response.finish_reason is None and response.provider_name in SAYS_WHY
    return response.state != "complete" or silent


def reply_of(response: ModelResponse, *, model: str, whole: bool = True) -> ModelReply:
    """Return the reply; one that is not *whole* is what came of it before it broke off, its usage unknown."""
    text, calls = _said(response)
    reason = REASONS.get(response.finish_reason or "stop", response.finish_reason or "stop")
    if reason == "stop" and calls:  # some say so, and some do not
        reason = "tool_calls"
    if not whole:
        reason = "incomplete"
    return ModelReply(
        text=text,
        tool_calls=calls,
        usage=_usage(response.usage) if whole else None,
        model=response.model_name or model.partition(":")[2],
        provider=response.provider_name or model.partition(":")[0],
        finish_reason=reason,
        state=ModelMessagesTypeAdapter.dump_json([response]),
    )


def _said(response: ModelResponse) -> tuple[str, tuple[ToolCall, ...]]:
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    return text, tuple(_call(part) for part in response.parts if isinstance(part, ToolCallPart))


def _call(part: ToolCallPart) -> ToolCall:
    given = part.args or {}
    arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return ToolCall(call_id=part.tool_call_id, name=part.tool_name, arguments=arguments)


def _usage(usage: RequestUsage) -> Usage | None:
    if usage.unmeasured_requests:
        return None
    return Usage(
        calls=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
