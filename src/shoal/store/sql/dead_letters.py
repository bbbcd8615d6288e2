"""Dead letters: messages that could not be delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.payload import encode

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["DONE", "LETTER", "LISTED", "give_up", "keep", "message_fact", "message_of", "newest", "prune_dead_letters"]

DONE = "UPDATE mail SET message = NULL, node_id = NULL, expires_at = NULL, ttl_left = NULL, done_at = ?"
LISTED = "WHERE seq IN (SELECT CAST(value AS BIGINT) FROM json_each(?))"
LETTER = "SELECT seq, recipient_id, message, deliveries"
"""What ``give_up`` takes of each message."""

_INSERT = "INSERT INTO dead_letters (message_id, recipient_id, message, reason, error, at) VALUES (?, ?, ?, ?, ?, ?)"

message_of = msgspec.json.Decoder(AgentMessage).decode
"""Decode a stored message."""


def prune_dead_letters(cx: Transaction, before: datetime, limit: int) -> int:
    """Remove those of the *limit* oldest dead letters that are older than *before*."""
    return cx.execute(
        """DELETE FROM dead_letters WHERE seq IN (
            SELECT seq FROM (SELECT seq, at FROM dead_letters ORDER BY seq LIMIT ?) WHERE at < ?)""",
        (limit, epoch(before)),
    )


def keep(cx: Transaction, letter: DeadLetter, now: datetime) -> None:
    """Keep a dead letter, with its event."""
    message = letter.message
    row = (
        message.message_id,
        letter.recipient_id,
        encode(message).decode(),
        letter.reason,
        letter.error,
        epoch(letter.at),
    )
    cx.new.insert(_INSERT, [row])
    fact = message_fact(EventType.MESSAGE_DEAD_LETTERED, letter.recipient_id, message)
    details = {**fact.details, "reason": letter.reason}
    if letter.error is not None:
        details["error"] = letter.error
    cx.emit(msgspec.structs.replace(fact, details=details), now)


def give_up(
    cx: Transaction, rows: Sequence[Sequence[Any]], reason: str, error: str | None, now: datetime
) -> list[DeadLetter]:
    """Turn stored messages (``LETTER``) into dead letters, and return those."""
    if not rows:
        return []
    cx.execute(f"{DONE} {LISTED}", (epoch(now), encode([seq for seq, *_ in rows]).decode()))
    letters = []
    for _, recipient_id, encoded, deliveries in rows:
        message = msgspec.structs.replace(message_of(encoded), delivery_count=max(deliveries, 1))
        if reason == "expired":
            cx.emit(message_fact(EventType.MESSAGE_EXPIRED, recipient_id, message), now)
        letters.append(DeadLetter(message=message, recipient_id=recipient_id, reason=reason, at=now, error=error))
        keep(cx, letters[-1], now)
    return letters


def message_fact(kind: EventType, agent_id: str, message: AgentMessage) -> Fact:
    """Return an event about a message."""
    details: dict[str, object] = {
        "message_id": message.message_id,
        "message_type": message.message_type,
        "sender_id": message.sender_id,
    }
    return Fact(event_type=kind, agent_id=agent_id, details=details)


def newest(cx: Reader, limit: int) -> list[DeadLetter]:
    """Return dead letters, newest first."""
    rows = cx.rows(
        "SELECT message, recipient_id, reason, at, error FROM dead_letters ORDER BY seq DESC LIMIT ?", (limit,)
    )
    return [_letter(row) for row in rows]


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    encoded, recipient_id, reason, at, error = row
    return DeadLetter(
        message=message_of(encoded), recipient_id=recipient_id, reason=reason, at=from_epoch(at), error=error
    )
