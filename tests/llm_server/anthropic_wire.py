"""Anthropic's messages on the wire, whole and as server-sent events."""

from __future__ import annotations

import json
from typing import Any

from tests.llm_server.behaviour import KINDS, Behaviour

REASONS = {"length": "max_tokens", "content_filter": "refusal"}


def error_body(behaviour: Behaviour) -> dict[str, Any]:
    return {"type": "error", "error": {"message": behaviour.message, **KINDS[behaviour.kind][2]}, "request_id": "req_1"}


def whole(behaviour: Behaviour, asked: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": behaviour.text}] if behaviour.text else []
    for number, (name, arguments) in enumerate(behaviour.calls):
        content.append({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": json.loads(arguments)})
    used = behaviour.usage or (0, 0)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": content,
        "stop_reason": _reason(behaviour),
        "stop_sequence": None,
        "usage": {"input_tokens": used[0], "output_tokens": used[1]},
    }


def pieces(behaviour: Behaviour, asked: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    """Return the pieces that bring the answer, and those that end it."""
    used = behaviour.usage or (0, 0)
    begun = whole(Behaviour(usage=(used[0], 1)), asked) | {"stop_reason": None}
    start = _event("message_start", message=begun)
    brings: list[bytes] = []
    if behaviour.text:
        opened = _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        brings += [_delta(0, type="text_delta", text=word) for word in behaviour.words]
        brings[0] = opened + brings[0]
        brings[-1] += _event("content_block_stop", index=0)
    first = len(bool(behaviour.text) * [0])
    for number, (name, arguments) in enumerate(behaviour.calls, first):
        block = {"type": "tool_use", "id": f"toolu_{number - first}", "name": name, "input": {}}
        half = len(arguments) // 2
        brings.append(_event("content_block_start", index=number, content_block=block))
        brings += [
            _delta(number, type="input_json_delta", partial_json=part) for part in (arguments[:half], arguments[half:])
        ]
        brings[-1] += _event("content_block_stop", index=number)
    brings[:1] = [start + b"".join(brings[:1])]
    last = {"stop_reason": _reason(behaviour), "stop_sequence": None}
    ends = [_event("message_delta", delta=last, usage={"output_tokens": used[1]}), _event("message_stop")]
    return brings, ends


def _reason(behaviour: Behaviour) -> str:
    return REASONS.get(behaviour.finish, behaviour.finish) or ("tool_use" if behaviour.calls else "end_turn")


def _delta(index: int, **delta: str) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)


def _event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
