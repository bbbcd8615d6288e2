"""Who calls a model, what it is asked, and who hears the answer: the records of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from shoal.kernel.scope import Scope
from shoal.llm.model import ChatMessage, Model, ModelReply, ToolSpec
from shoal.llm.retrying import Gate

__all__ = ["Caller", "Calling", "Listener", "Prompt"]


class Calling(NamedTuple):
    """How an agent calls models: what does not change from call to call.

    models: the model, then its fallbacks. cheap: takes their place when a budget has reached its ``cheap_at``.
    timeout: seconds for one attempt.
    """

    agent_name: str
    models: tuple[Model, ...]
    cheap: Model | None
    gate: Gate
    retries: int
    timeout: float
    temperature: float | None
    max_tokens: int
    settings: Mapping[str, Any]


class Prompt(NamedTuple):
    """What a model is asked."""

    system: str
    messages: Sequence[ChatMessage]
    tools: tuple[ToolSpec, ...] = ()
    output: ToolSpec | None = None


class Listener(Protocol):
    """Who hears an answer while it comes."""

    def text(self, piece: str) -> None:
        """More text came."""
        ...

    def broken_off(self) -> None:
        """The attempt failed: what came of it counts no more."""
        ...

    def replied(self, reply: ModelReply) -> None:
        """The reply is there, in whole; it may be one that was recorded before."""
        ...

    def cancelled(self) -> str | None:
        """Return what came so far when somebody has cancelled the stream, else None. To be asked once."""
        ...


class Caller(NamedTuple):
    """One chat as the caller of models.

    scope: its place in the run.
    tokens: whether the run's news tell text as it comes. listener: who else hears it.
    """

    calling: Calling
    scope: Scope
    tokens: bool
    listener: Listener | None
