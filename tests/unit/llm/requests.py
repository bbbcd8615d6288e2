"""Requests as the tests of models make them."""

from __future__ import annotations

from typing import Any

from shoal.llm.model import ChatMessage, Model, ModelDelta, ModelReply, ModelRequest, ToolSpec

ADD = ToolSpec(
    name="add",
    description="Adds two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)


def asked(text: str = "Say hello", **fields: Any) -> ModelRequest:
    """Return a request with one message."""
    fields = {"messages": (ChatMessage(role="user", content=text),), "agent_name": "Writer", **fields}
    return ModelRequest(**fields)


async def streamed(model: Model, request: ModelRequest) -> tuple[list[ModelDelta], ModelReply | None, Exception | None]:
    """Read a stream to its end: the deltas, the last reply, and the error it ended with."""
    deltas: list[ModelDelta] = []
    reply: ModelReply | None = None
    try:
        async for piece in model.stream(request):
            if isinstance(piece, ModelReply):
                reply = piece
            else:
                deltas.append(piece)
    except Exception as error:
        return deltas, reply, error
    return deltas, reply, None
