"""Messages: something said to someone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec

__all__ = [
    "AgentMessage",
    "DeadLetter",
    "about",
    "check_message_type",
    "check_seconds",
    "check_topic",
    "topic_matches",
]

_TYPE = re.compile(r"[A-Za-z0-9_]{1,50}")
_WORD = re.compile(r"[A-Za-z0-9_\-]+")


class AgentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message. ``recipient_ids`` is empty for a broadcast; times are aware UTC."""

    message_id: str
    sender_id: str
    sender_name: str
    recipient_ids: tuple[str, ...] = ()
    message_type: str
    data: Any = None
    timestamp: datetime
    correlation_id: str | None = None
    expires_at: datetime | None = None
    topic: str | None = None
    durable: bool = False
    expects_reply: bool = False
    delivery_count: int = 1
    chain: Annotated[
        tuple[str, ...], msgspec.Meta(description="invocations waiting on this message, outermost first")
    ] = ()

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time to live had ended at *now*."""
        return self.expires_at is not None and now >= self.expires_at

    def is_broadcast(self) -> bool:
        """Tell whether it went to everybody."""
        return not self.recipient_ids and self.topic is None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be delivered. ``reason``: expired, full, stopped, died, node_lost or failures."""

    message: AgentMessage
    recipient_id: str
    reason: str
    at: datetime
    error: str | None = None


def check_message_type(message_type: object) -> None:
    """Raise ValueError unless *message_type* is 1 to 50 letters, digits or underscores."""
    if not isinstance(message_type, str) or not _TYPE.fullmatch(message_type):
        raise ValueError(f"message_type must be 1 to 50 letters, digits or _, not {str(message_type)[:80]!r}")


def check_topic(topic: object, *, pattern: bool = False) -> None:
    """Raise ValueError unless *topic* is words joined by dots; in a *pattern* ``*`` is one word, a last ``>``
    the rest."""
    words = topic.split(".") if isinstance(topic, str) else []
    for place, word in enumerate(words):
        if pattern and (word == "*" or (word == ">" and place == len(words) - 1)):
            continue
        if not _WORD.fullmatch(word):
            words = []
            break
    if not words:
        wild = ", with * for one word and a last > for the rest" if pattern else ""
        raise ValueError(
            f"topic must be words of letters, digits, _ or - joined by dots{wild}, not {str(topic)[:80]!r}"
        )


def topic_matches(pattern: str, topic: str) -> bool:
    """Tell whether *topic* falls under *pattern*."""
    return _match(pattern.split("."), topic.split("."))


def _match(pattern: Iterable[str], words: list[str]) -> bool:
    place = 0
    for part in pattern:
        if part == ">":
            return place < len(words)
        if place >= len(words) or part not in ("*", words[place]):
            return False
        place += 1
    return place == len(words)


def about(message: AgentMessage) -> dict[str, object]:
    """Return what an event says of a message."""
    return {
        "message_id": message.message_id,
        "message_type": message.message_type,
        "sender_id": message.sender_id,
        "recipient_ids": list(message.recipient_ids),
    }


def check_seconds(name: str, seconds: object) -> None:
    """Raise ValueError unless *seconds* is a number above 0, or None."""
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0):
        raise ValueError(f"{name} must be above 0, or None, not {seconds!r:.80}")
