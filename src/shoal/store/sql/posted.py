"""Messages on their way into the store: each is kept once for each recipient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import encode
from shoal.store.sql.dead_letters import message_fact
from shoal.store.sql.records import check_not_lost

if TYPE_CHECKING:
    from shoal.store.sql.operations import Operation
    from shoal.store.sql.transaction import Transaction

__all__ = ["PUT", "keep", "put", "put_many"]

PUT = """INSERT INTO mail (recipient_id, message_id, message, durable, expires_at, ttl_left) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (recipient_id, message_id) DO NOTHING"""
# A look of its own for each: else PostgreSQL may walk through all agents.
_STATUS = "SELECT listed.value, (SELECT status FROM agents WHERE agent_id = listed.value) FROM json_each(?) AS listed"

_Post = tuple[str, AgentMessage, str, datetime]
"""For whom a message is, the message, how it is stored, and when."""


def put(
    cx: Transaction,
    recipient_ids: tuple[str, ...],
    message: AgentMessage,
    encoded: str,
    now: datetime,
    node_id: str | None,
) -> None:
    """Store a message for each recipient; see ``Mail.put``."""
    check_not_lost(cx, node_id)
    new = cx.add(PUT, _rows(cx, [(each, message, encoded, now) for each in recipient_ids]))
    _tell_sent(cx, message, [each for each, is_new in zip(recipient_ids, new, strict=True) if is_new], now)


def put_many(cx: Transaction, operations: Sequence[Operation[None]]) -> list[None]:
    """Do what ``put`` does, for many at once."""
    for node_id in dict.fromkeys(operation.args[4] for operation in operations):
        check_not_lost(cx, node_id)
    posts: list[_Post] = []
    for operation in operations:
        recipient_ids, message, encoded, now, _ = operation.args
        posts += [(each, message, encoded, now) for each in recipient_ids]
    new = iter(cx.add(PUT, _rows(cx, posts)))
    for operation in operations:
        recipient_ids, message, _, now, _ = operation.args
        cx.span = operation.span
        _tell_sent(cx, message, [each for each in recipient_ids if next(new)], now)
    return [None] * len(operations)


def _tell_sent(cx: Transaction, message: AgentMessage, stored: list[str], now: datetime) -> None:
    if message.durable and stored:
        fact = message_fact(EventType.MESSAGE_SENT, message.sender_id, message)
        cx.emit(msgspec.structs.replace(fact, details={**fact.details, "recipients": stored}), now)


def keep(cx: Transaction, recipient_id: str, messages: Iterable[tuple[AgentMessage, str]], now: datetime) -> None:
    """Store messages for one recipient, each with how it is stored; those that are known are passed over."""
    cx.add(PUT, _rows(cx, [(recipient_id, message, encoded, now) for message, encoded in messages]))


def _rows(cx: Transaction, posts: Sequence[_Post]) -> list[tuple[object, ...]]:
    """Return the parameters of ``PUT`` for each. What waits for an agent that is paused does not age."""
    ageing = sorted({recipient_id for recipient_id, message, *_ in posts if message.expires_at is not None})
    found = cx.rows(_STATUS, (encode(ageing).decode(),)) if ageing else ()
    paused = {agent_id for agent_id, status in found if status == "paused"}
    rows: list[tuple[object, ...]] = []
    for recipient_id, message, encoded, now in posts:
        expires_at: int | None = None
        ttl_left: int | None = None
        if message.expires_at is not None and recipient_id in paused:
            ttl_left = max(epoch(message.expires_at) - epoch(now), 1)
        elif message.expires_at is not None:
            expires_at = epoch(message.expires_at)
        rows.append((recipient_id, message.message_id, encoded, int(message.durable), expires_at, ttl_left))
    return rows
