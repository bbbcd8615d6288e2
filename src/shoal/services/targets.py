"""Whom a request is for: an instance, a service, or anybody who can do something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.errors import RequestError
from shoal.services import codes
from shoal.services.info import AgentRecord

__all__ = ["Capability", "plain_target", "read_records", "read_target", "read_words"]


class Capability(msgspec.Struct, frozen=True):
    """A capability as the target of a request: any instance that has the *word*."""

    word: str


def plain_target(target: Any) -> str | dict[str, str]:
    """Return a target as it travels: a text, or ``{"capability": word}``.

    Raises:
        TypeError: it is no target.
    """
    if isinstance(target, Capability):
        return {"capability": target.word}
    if isinstance(target, AgentRecord):
        return target.uuid
    if isinstance(target, str):
        return target
    raise TypeError(f"a target is a name, an id, a record or a Capability, not {type(target).__name__}")


def read_target(plain: Any) -> str | Capability:
    """Return what ``plain_target`` made, or RequestError (INVALID_FORMAT)."""
    if isinstance(plain, str) and plain:
        return plain
    word = plain.get("capability") if isinstance(plain, dict) else None
    if isinstance(word, str) and word.strip():
        return Capability(word)
    raise RequestError(codes.INVALID_FORMAT, f"a target is a name, an id or a capability, not {plain!r:.80}")


def read_records(found: Any) -> list[AgentRecord]:
    """Return records: *found* itself, or what came as JSON."""
    if not found or isinstance(found[0], AgentRecord):
        records: list[AgentRecord] = found
        return records
    return msgspec.convert(found, list[AgentRecord])


def read_words(capabilities: str | Sequence[str]) -> list[str]:
    """Return the words by which services are looked for. Raises TypeError: there is none, or one is no text."""
    words = [capabilities] if isinstance(capabilities, str) else list(capabilities)
    if not words or not all(isinstance(word, str) for word in words):
        raise TypeError(f"capabilities are words, at least one, not {capabilities!r:.80}")
    return words
