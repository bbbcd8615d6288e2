"""What a model is to an agent: a request goes in, a reply comes out, in whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from shoal.kernel.usage import Usage

__all__ = ["ChatMessage", "Model", "ModelDelta", "ModelReply", "ModelRequest", "ToolCall", "ToolSpec"]


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's wish that a tool be run.

    ``arguments`` is the text as the model wrote it, JSON if all is well.
    """

    call_id: str
    name: str
    arguments: str = "{}"


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation.

    role: ``user``, ``assistant`` (``tool_calls`` and ``state`` are its) or ``tool`` (the answer to ``call_id``).
    """

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""
    state: bytes = b""


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model is told of a tool: its name, what it does, and the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a model.

    system: the system text.
    messages: the conversation, oldest first.
    tools: what the model may call.
    output_schema: the tool by which it must answer, in place of text.
    temperature, max_tokens: None: the provider's default.
    timeout: seconds for this attempt.
    key: the step's key, sent as the idempotency key.
    agent_name, ordinal, attempt: whose call it is, its number among this agent's calls in this run (retries not
        counted), and the number of the attempt, all from 0 but ``attempt``, from 1.
    settings: the provider's own settings, passed on.
    """

    system: str = ""
    messages: tuple[ChatMessage, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    output_schema: ToolSpec | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    key: str = ""
    agent_name: str = ""
    ordinal: int = 0
    attempt: int = 1
    settings: dict[str, Any] = {}


class ModelReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model answered.

    usage: None when the provider told none.
    finish_reason: ``stop``, ``length``, ``tool_calls``, ``content_filter``, ``cancelled`` or ``incomplete``.
    state: the provider's own parts, to send a replayed turn back to it.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    model: str = ""
    provider: str = ""
    finish_reason: str = "stop"
    state: bytes = b""


class ModelDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a reply under way: more text, or a tool call that has begun."""

    text: str = ""
    tool_call: ToolCall | None = None


@runtime_checkable
class Model(Protocol):
    """A language model, or a double of one. It raises ``ModelError`` classes only."""

    name: str  # such as "anthropic:claude-haiku-4-5"

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces; the whole reply comes last."""
        ...

    def price(self, usage: Usage) -> int | None:
        """Return what *usage* costs in 1e-12 USD; None: not known."""
        ...
