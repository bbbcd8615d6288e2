"""A box as a member of a pattern: what it answers to ``chat``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["ChatAnswer", "chat_answer"]


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with what it took: ``usage`` and ``cost`` as the box gave them, None when it did not."""

    content: Any
    usage: Any = None
    cost: Any = None


def chat_answer(answer: Any) -> Any:
    """Return a dict that has ``content`` as a ChatAnswer, anything else as it is."""
    if isinstance(answer, Mapping) and "content" in answer:
        return ChatAnswer(content=answer["content"], usage=answer.get("usage"), cost=answer.get("cost"))
    return answer
