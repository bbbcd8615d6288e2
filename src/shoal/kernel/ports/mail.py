"""The store of messages that wait."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Protocol

from shoal.kernel.event import Fact
from shoal.kernel.message import AgentMessage, DeadLetter

__all__ = ["Mail"]


class Mail(Protocol):
    """Messages that must not be lost: durable ones, those of paused agents, and dead letters."""

    def put(
        self, recipient_ids: Sequence[str], message: AgentMessage, *, now: datetime, node_id: str | None = None
    ) -> Awaitable[None]:
        """Store *message* for each recipient (``message_sent`` when durable).

        A known (id, recipient) is not stored again. Raises LeaseLostError when *node_id*, the sender's, was lost.
        """
        ...

    def take(self, recipient_id: str, node_id: str, *, now: datetime, limit: int) -> Awaitable[list[AgentMessage]]:
        """Hand out up to *limit* messages in order, oldest first, and count the delivery.

        A durable one stays until ``ack`` and is handed out once per holder: again after ``nack``, or when its node is
        lost. Another is removed. Expired ones become dead letters. Raises LeaseLostError when *node_id* was lost.
        """
        ...

    def begin(self, recipient_id: str, message_id: str, node_id: str, *, now: datetime) -> Awaitable[bool]:
        """Note that the handler of a durable message that *node_id* has taken is about to begin; False when it is not
        that node's any more.

        If that node is lost before the message is acknowledged or given back, that counts as a failure of the message
        (``Leases.rescue``); the loss of a node that only had it does not. A note holds for one hand-out.
        """
        ...

    def ack(self, recipient_id: str, message_ids: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Remove messages that were handled (``message_received`` for durable ones)."""
        ...

    def nack(
        self, recipient_id: str, message_id: str, error: str, *, now: datetime, retry_at: datetime, max_deliveries: int
    ) -> Awaitable[bool]:
        """Make it due again at *retry_at*, or a dead letter at its failure number *max_deliveries*: then True."""
        ...

    def release(self, recipient_id: str, node_id: str, *, now: datetime) -> Awaitable[int]:
        """Give back what *node_id* took for this recipient and did not acknowledge; returns how many."""
        ...

    def bury(self, letters: Sequence[DeadLetter], *, now: datetime, facts: Sequence[Fact] = ()) -> Awaitable[None]:
        """Keep dead letters, each with ``message_dead_lettered`` beside *facts*."""
        ...

    def redeliver(self, message_id: str, *, now: datetime) -> Awaitable[list[str]]:
        """Turn dead letters of this message into mail again, durable, with a fresh count; return the recipients.

        Those of agents that are known no more stay. Raises LookupError when there is none, or only such.
        """
        ...

    def expire(self, *, now: datetime, limit: int = 1000) -> Awaitable[int]:
        """Turn up to *limit* stored messages whose time is over into dead letters; returns how many."""
        ...

    # readers
    def waiting(self, recipient_id: str) -> int:
        """Return how many messages are stored for this recipient and not handed out."""
        ...

    def due(self, node_agents: Sequence[str], *, now: datetime) -> Sequence[str]:
        """Return those of *node_agents* for whom mail can be taken now."""
        ...

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        ...
