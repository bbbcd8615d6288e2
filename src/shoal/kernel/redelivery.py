"""Durable messages that were taken and not handled: they come again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import RequestFailedError
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Outcome, Return, Settlement

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["MAX_DELIVERIES", "again", "begin", "comes_again", "fetch_when_due", "put_back", "with_mail"]

MAX_DELIVERIES = 5
FIRST_RETRY_SECONDS = 0.5


def with_mail(cell: Cell, settlement: Settlement, taken: Sequence[AgentMessage]) -> Settlement:
    """Let a settlement carry what becomes of the durable mail that its attempt took: done with it, or it comes again."""
    if settlement.outcome is Outcome.COMPLETED:
        return msgspec.structs.replace(settlement, acks=tuple(message.message_id for message in taken))
    failed = settlement.outcome is not Outcome.INTERRUPTED
    why = settlement.error_message or "its task was not completed"
    returns = tuple(_return(cell, message, why, failed=failed) for message in taken)
    return msgspec.structs.replace(settlement, returns=returns)


def _return(cell: Cell, message: AgentMessage, why: str, *, failed: bool = True) -> Return:
    """Return how a durable message comes again: later each time, the fifth time as a dead letter.

    One that was not tried to the end (not *failed*) is due at once, however often that happens.
    """
    before = min(message.delivery_count, MAX_DELIVERIES) - 1  # it may have been handed out, and not tried, more often
    wait = FIRST_RETRY_SECONDS * 2**before if failed else 0.0
    return Return(
        message_id=message.message_id,
        error=why,
        retry_at=cell.env.clock.now() + timedelta(seconds=wait),
        max_deliveries=MAX_DELIVERIES if failed else None,
    )


def fetch_when_due(cell: Cell, given: Return) -> None:
    """Look into the store when a message that was given back is due."""
    wait = (given.retry_at - cell.env.clock.now()).total_seconds()
    cell.env.clock.call_later(max(0.0, wait), cell.inbox.fetch)


def comes_again(message: AgentMessage) -> bool:
    """Tell whether a message was handed out before: then it may be what its last node died of."""
    return message.durable and message.delivery_count > 1


async def begin(cell: Cell, message: AgentMessage) -> bool:
    """Note on disk that a message which comes again is about to be handled: the death of this node is its failure from
    then on. False when it is another node's by now."""
    env = cell.env
    return await env.persist(
        lambda: env.store.mail.begin(cell.agent_id, message.message_id, env.node_id, now=env.clock.now())
    )


async def again(cell: Cell, message: AgentMessage, why: str) -> None:
    """Let a durable message that was not handled come again. Until the store has heard of it, it would not."""
    env, given = cell.env, _return(cell, message, why)
    given_up = await env.persist(
        lambda: env.store.mail.nack(
            cell.agent_id,
            message.message_id,
            why,
            now=env.clock.now(),
            retry_at=given.retry_at,
            max_deliveries=MAX_DELIVERIES,
        )
    )
    if given_up:
        error = RequestFailedError(f"{cell.name!r} failed: {why}", error_type="", error_message=why)
        cell.post.asking.unanswered(message, error)
    fetch_when_due(cell, given)


def put_back(cell: Cell, messages: Sequence[AgentMessage]) -> None:
    """Take back messages that the agent was given and never had: they are the next in its mailbox."""
    cell.inbox.mailbox.put_back(messages)
    if cell.dead:
        cell.post.undelivered.abandoned(cell, "stopped")
    elif not cell.paused:
        cell.inbox.pump()
