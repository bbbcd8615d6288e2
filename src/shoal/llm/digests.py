"""What a model is asked, as one short word: by it a recorded step knows its prompt, and a cassette its reply."""

from __future__ import annotations

import hashlib

import msgspec

from shoal.kernel.asking_people import canonical
from shoal.llm.model import ChatMessage, ToolSpec

__all__ = ["prompt_digest"]

_encode = msgspec.json.Encoder().encode


def prompt_digest(
    system: str, messages: tuple[ChatMessage, ...], tools: tuple[ToolSpec, ...], output: ToolSpec | None
) -> str:
    """Return the SHA-256 of a prompt, in hex digits."""
    digest = hashlib.sha256(_encode((system, messages)))
    if tools or output is not None:
        digest.update(canonical((tools, output)))
    return digest.hexdigest()
