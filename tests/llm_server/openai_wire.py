"""OpenAI's chat completions on the wire, whole and as server-sent events."""

from __future__ import annotations

import json
from typing import Any

from tests.llm_server.behaviour import KINDS, Behaviour


def error_body(behaviour: Behaviour) -> dict[str, Any]:
    return {"error": {"message": behaviour.message, "param": None, **KINDS[behaviour.kind][1]}}


def whole(behaviour: Behaviour, asked: dict[str, Any]) -> dict[str, Any]:
    calls = [_call(number, *pair) for number, pair in enumerate(behaviour.calls)]
    message = {"role": "assistant", "content": behaviour.text or None} | ({"tool_calls": calls} if calls else {})
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": _reason(behaviour)}],
    }
    if behaviour.usage is not None:
        body["usage"] = _usage(behaviour.usage)
    return body


def pieces(behaviour: Behaviour, asked: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    """Return the pieces that bring the answer, and those that end it."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": word} for word in behaviour.words]
    for number, (name, arguments) in enumerate(behaviour.calls):
        begun = _call(number, name, "")
        deltas.append({"tool_calls": [{"index": number, **begun}]})
        half = len(arguments) // 2
        parts = (arguments[:half], arguments[half:])
        deltas += [{"tool_calls": [{"index": number, "function": {"arguments": part}}]} for part in parts]
    ends = [_chunk(asked, [{"index": 0, "delta": {}, "finish_reason": _reason(behaviour)}])]
    if behaviour.usage is not None and asked.get("stream_options", {}).get("include_usage"):
        ends.append(_chunk(asked, [], usage=_usage(behaviour.usage)))
    brings = [_chunk(asked, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    return [_event(chunk) for chunk in brings], [_event(chunk) for chunk in ends] + [b"data: [DONE]\n\n"]


def _reason(behaviour: Behaviour) -> str:
    return behaviour.finish or ("tool_calls" if behaviour.calls else "stop")


def _call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def _chunk(asked: dict[str, Any], choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": asked["model"]}
    return {**head, "choices": choices, **more}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
