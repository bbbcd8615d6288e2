"""Messages on their way into the store: each is kept once for each recipient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType
from shoal.kernel.message import AgentMessage
from shoal.store.sql.dead_letters import message_fact
from shoal.store.sql.records import check_not_lost

if TYPE_CHECKING:
    from shoal.store.sql.operations import Operation
    from shoal.store.sql.transaction import Transaction

__all__ = ["PUT", "keep", "put", "put_many"]

PUT = """INSERT INTO mail (recipient_id, message_id, message, durable, expires_at, ttl_left) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (recipient_id, message_id) DO NOTHING"""


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
    new = cx.add(PUT, [_row(cx, each, message, encoded, now) for each in recipient_ids])
    _tell_sent(cx, message, [each for each, is_new in zip(recipient_ids, new, strict=True) if is_new], now)


def put_many(cx: Transaction, operations: Sequence[Operation[None]]) -> list[None]:
    """Do what ``put`` does, for many at once."""
    rows: list[tuple[object, ...]] = []
    for node_id in dict.fromkeys(operation.args[4] for operation in operations):
        check_not_lost(cx, node_id)
    for operation in operations:
        recipient_ids, message, encoded, now, _ = operation.args
        rows += [_row(cx, each, message, encoded, now) for each in recipient_ids]
    new = iter(cx.add(PUT, rows))
    for operation in operations:
        recipient_ids, message, _, now, _ = operation.args
        cx.span = operation.span
        _tell_sent(cx, message, [each for each in recipient_ids if next(new)], now)
    return [None] * len(operations)


def _tell_sent(cx: Transaction, message: AgentMessage, stored: list[str], now: datetime) -> None:
    if message.durable and stored:
        fact = message_fact(EventType.MESSAGE_SENT, message.sender_id, message)
        cx.emit(msgspec.structs.replace(fact, details={**fact.details, "recipients": stored}), now)


def keep(cx: Transaction, recipient_id: str, message: AgentMessage, encoded: str, now: datetime) -> bool:
    """Store a message for one recipient; False when it was known."""
    return cx.execute(PUT, _row(cx, recipient_id, message, encoded, now)) > 0


def _row(cx: Transaction, recipient_id: str, message: AgentMessage, encoded: str, now: datetime) -> tuple[object, ...]:
    """Return the parameters of ``PUT``."""
    expires_at: int | None = None
    ttl_left: int | None = None
    if message.expires_at is not None:
        if cx.value("SELECT status = 'paused' FROM agents WHERE agent_id = ?", (recipient_id,)):
            ttl_left = max(epoch(message.expires_at) - epoch(now), 1)
        else:
            expires_at = epoch(message.expires_at)
    return recipient_id, message.message_id, encoded, int(message.durable), expires_at, ttl_left
