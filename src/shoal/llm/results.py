"""What a chat gives back."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

from shoal.kernel.run import Handoff
from shoal.kernel.usage import Usage
from shoal.llm.retrying import Attempt
from shoal.llm.tools import ToolRecord

__all__ = ["ChatResult", "StreamEvent", "StreamKind"]

T = TypeVar("T")

StreamKind = Literal["text", "tool_call", "tool_result", "approval", "restart", "done"]


class ChatResult(msgspec.Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """An agent's answer. ``str()`` of it is its content.

    content: the text; of a typed output its JSON text.
    output: the typed output, None without an ``output_type``.
    usage: of this chat, what its tools asked of other agents included.
    duration_ms: of this chat.
    model, provider: of the last reply. finish_reason: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or
        ``cancelled``.
    tool_calls: how each call of a tool went, in order; refused ones are there, too.
    handoff: to whom the agent handed over.
    attempts: every call of a model, those that failed included, in order.
    run_id: the run it was part of. step: the key of its last step there.
    """

    content: str
    output: T | None = None
    usage: Usage = Usage()
    duration_ms: float = 0.0
    model: str = ""
    provider: str = ""
    finish_reason: str = "stop"
    tool_calls: tuple[ToolRecord, ...] = ()
    handoff: Handoff | None = None
    attempts: tuple[Attempt, ...] = ()
    run_id: str = ""
    step: str = ""

    @property
    def cost(self) -> float:
        """The cost of this chat in USD."""
        return self.usage.cost

    def __str__(self) -> str:
        return self.content


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of an answer under way.

    offset: from 1, rising by one. attempt: from 1; ``restart`` says that the text of lower attempts counts no more.
    kind: ``text``, ``tool_call``, ``tool_result``, ``approval``, ``restart`` or ``done``.
    data: of a tool its ``call_id``, ``name``, ``arguments`` or ``content``; of an approval its ``id`` and ``decision``.
    """

    offset: int
    attempt: int
    kind: StreamKind
    text: str = ""
    data: dict[str, Any] = {}
