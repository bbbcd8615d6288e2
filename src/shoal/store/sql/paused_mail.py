"""The mail of agents that pause: it comes to the disk in its order, and does not age.

``freeze`` turns the time of expiry into time left, ``thaw`` turns it back.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from shoal.kernel.clock import epoch
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import encode
from shoal.store.sql.mail import OPEN
from shoal.store.sql.posted import keep

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Transaction

__all__ = ["Kept", "freeze", "keep_mailbox", "thaw"]

Kept = tuple[tuple[AgentMessage, str, bool], ...]
"""What a pause keeps: messages in their order, encoded, and whether each is held by its handler."""

# A look of its own for each: else PostgreSQL may look for each among all that the agent was ever sent.
_ITS = "FROM mail WHERE recipient_id = :agent_id AND message_id = listed.value"
_STORED = f"""SELECT listed.value, (SELECT done_at {_ITS}), (SELECT node_id {_ITS})
    FROM json_each(:message_ids) AS listed"""
_PLACE = """UPDATE mail SET seq = coalesce(?, seq), node_id = ?,
        deliveries = CASE WHEN deliveries > 0 THEN deliveries - 1 ELSE 0 END
    WHERE recipient_id = ? AND message_id = ? RETURNING seq"""


def keep_mailbox(cx: Transaction, agent_id: str, node_id: str, kept: Kept, now: datetime) -> None:
    """Store what waits in the mailbox of an agent that pauses, before what waits in the store already.

    A durable message is stored already: it is given back, as if it had not been handed out. One whose handler is held
    stays handed out.
    """
    if not kept:
        return
    keep(cx, agent_id, [(message, encoded) for message, encoded, _ in kept], now)
    ids = {"agent_id": agent_id, "message_ids": encode([message.message_id for message, *_ in kept]).decode()}
    stored = {message_id: (done_at, holder) for message_id, done_at, holder in cx.rows(_STORED, ids)}
    place = None
    if any(not message.durable for message, *_ in kept):  # else each was stored before, in its place
        place = _make_room(cx, agent_id, len(kept))
    moved: list[tuple[int | None, str | None, str, str]] = []
    for message, _, held in kept:
        done_at, holder = stored[message.message_id]
        if done_at is not None or (message.durable and holder != node_id):
            continue  # acknowledged, or given back, while it waited
        moved.append((place, node_id if held else None, agent_id, message.message_id))
        place = None if place is None else place + 1
    cx.each(_PLACE, moved)


def _make_room(cx: Transaction, agent_id: str, places: int) -> int:
    """Move what waits in the store for an agent so that *places* come free before it; return the first of them."""
    first: int = cx.value("SELECT coalesce(max(seq), 0) + 1 FROM mail")
    waiting = f"recipient_id = :agent AND {OPEN}"
    oldest = cx.value(f"SELECT min(seq) FROM mail INDEXED BY mail_waiting WHERE {waiting}", {"agent": agent_id})
    if oldest is not None:
        cx.execute(
            f"UPDATE mail SET seq = seq + :further WHERE {waiting}",
            {"agent": agent_id, "further": first + places - oldest},
        )
    return first


def freeze(cx: Transaction, recipient_id: str, now: datetime) -> None:
    """Let the mail of an agent that pauses age no further."""
    cx.execute(
        """UPDATE mail SET ttl_left = CASE WHEN expires_at > :now THEN expires_at - :now ELSE 1 END, expires_at = NULL
            WHERE recipient_id = :recipient AND expires_at IS NOT NULL""",
        {"now": epoch(now), "recipient": recipient_id},
    )


def thaw(cx: Transaction, recipient_id: str, now: datetime) -> None:
    """Let the mail of an agent that was paused age again."""
    cx.execute(
        "UPDATE mail SET expires_at = ? + ttl_left, ttl_left = NULL WHERE recipient_id = ? AND ttl_left IS NOT NULL",
        (epoch(now), recipient_id),
    )
