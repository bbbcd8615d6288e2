"""OpenAI's responses on the wire, whole and as server-sent events."""

from __future__ import annotations

import json
from typing import Any

from tests.llm_server import openai_wire
from tests.llm_server.behaviour import Behaviour

error_body = openai_wire.error_body


def whole(behaviour: Behaviour, asked: dict[str, Any]) -> dict[str, Any]:
    output: list[dict[str, Any]] = [_message(behaviour.text)] if behaviour.text else []
    output += [_call(number, *pair) for number, pair in enumerate(behaviour.calls)]
    return _response(asked, output, behaviour)


def pieces(behaviour: Behaviour, asked: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    """Return the pieces that bring the answer, and those that end it."""
    begun = _response(asked, [], behaviour) | {"status": "in_progress", "usage": None}
    brings = [_event("response.created", response=begun)]
    if behaviour.text:
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        opened = _event("response.output_item.added", output_index=0, item=_message("") | {"content": []})
        opened += _event("response.content_part.added", part=part, **place)
        words = [_event("response.output_text.delta", delta=word, logprobs=[], **place) for word in behaviour.words]
        brings[0] += opened + words[0]
        brings += words[1:]
        brings[-1] += _event("response.output_text.done", text=behaviour.text, logprobs=[], **place)
        brings[-1] += _event("response.output_item.done", output_index=0, item=_message(behaviour.text))
    for number, (name, arguments) in enumerate(behaviour.calls, int(bool(behaviour.text))):
        item = _call(number - bool(behaviour.text), name, arguments)
        brings.append(_event("response.output_item.added", output_index=number, item=item | {"arguments": ""}))
        place = {"item_id": item["id"], "output_index": number}
        half = len(arguments) // 2
        for part_of in (arguments[:half], arguments[half:]):
            brings[-1] += _event("response.function_call_arguments.delta", delta=part_of, **place)
        brings[-1] += _event("response.function_call_arguments.done", arguments=arguments, name=name, **place)
        brings[-1] += _event("response.output_item.done", output_index=number, item=item)
    return brings, [_event("response.completed", response=whole(behaviour, asked))]


def _message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}


def _call(number: int, name: str, arguments: str) -> dict[str, Any]:
    made = {"id": f"fc_{number}", "type": "function_call", "status": "completed", "call_id": f"call_{number}"}
    return {**made, "name": name, "arguments": arguments}


def _response(asked: dict[str, Any], output: list[dict[str, Any]], behaviour: Behaviour) -> dict[str, Any]:
    used = behaviour.usage
    counted = used and {
        "input_tokens": used[0],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": used[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(used),
    }
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(behaviour.finish)
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000,
        "model": asked["model"],
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": counted,
    }


def _event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 0, **data})}\n\n".encode()
