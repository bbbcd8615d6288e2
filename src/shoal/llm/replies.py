"""What a model gave back, seen to be what a run can keep: it is read again after a restart."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from shoal.errors import ModelUnavailableError
from shoal.kernel.usage import Usage
from shoal.llm.model import ModelReply, ToolCall

__all__ = ["sound_reply", "sound_text"]


def sound_text(text: str) -> str:
    """Return *text* with halves of surrogate pairs joined, and lone ones, which no store can hold, replaced.

    Providers send them where they cut a reply in the middle of a character.
    """
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def sound_reply(reply: Any, model: str) -> ModelReply:
    """Return *reply* with texts that can be stored; a usage that cannot be true counts as none.

    Raises ModelUnavailableError when it is no reply.
    """
    try:
        found = msgspec.convert(msgspec.to_builtins(reply), ModelReply) if isinstance(reply, ModelReply) else None
    except (TypeError, msgspec.ValidationError) as error:
        raise ModelUnavailableError(f"{model} gave a reply that is none: {error}", model=model) from None
    if found is None:
        raise ModelUnavailableError(f"{model} returned {type(reply).__name__}, expected ModelReply", model=model)
    text, calls = sound_text(found.text), tuple(map(_sound_call, found.tool_calls))
    usage = None if found.usage is None else _sound_usage(found.usage)
    return replace(found, text=text, tool_calls=calls, usage=usage)


def _sound_call(call: ToolCall) -> ToolCall:
    return ToolCall(call_id=sound_text(call.call_id), name=sound_text(call.name), arguments=sound_text(call.arguments))


def _sound_usage(usage: Usage) -> Usage | None:
    """Return what a provider can tell of one call; what is below zero would give money back to a budget."""
    if min(getattr(usage, name) for name in usage.__struct_fields__) < 0:
        return None
    return replace(usage, tool_calls=0, lost_calls=0, lost_pico=0)
