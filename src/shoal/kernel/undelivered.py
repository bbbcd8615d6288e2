"""What becomes of mail that cannot be delivered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from shoal.errors import DeadAgentError, MessageExpiredError, StoreError
from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import AgentMessage, DeadLetter, about

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.post import Post

__all__ = ["Undelivered", "not_running", "not_taken"]


class Undelivered:
    """Dead letters of one node's mail, and who is to hear of them."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._env = post.env

    def expired(self, cell: Cell, message: AgentMessage) -> None:
        """Make a message whose time is over a dead letter, and tell who waits for the answer."""
        future = cell.inbox.asks.get(message.message_id)
        error = MessageExpiredError(f"The message to {cell.name!r} expired before it was taken")
        if future is not None and not future.done():
            future.set_exception(error)
        elif future is None:
            self._post.asking.unanswered(message, error)
        fact = Fact(event_type=EventType.MESSAGE_EXPIRED, agent_id=cell.agent_id, details=about(message))
        self._bury([self._letter(cell.agent_id, message, "expired")], [fact])

    def rejected(self, message: AgentMessage, names: Sequence[str]) -> None:
        """Note that full mailboxes refused a message."""
        ids = [self._post.resolve(name) for name in names]
        facts = [
            Fact(event_type=EventType.MESSAGE_REJECTED, agent_id=agent_id, details=about(message)) for agent_id in ids
        ]
        self._bury([self._letter(agent_id, message, "full") for agent_id in ids], facts)

    def abandoned(self, cell: Cell, reason: str) -> None:
        """Make what is left in a cell's mailbox dead letters; durable mail is in the store."""
        rest = [message for message in cell.inbox.mailbox.drain() if not message.durable]
        for message in rest:
            self._post.asking.unanswered(message, self._post.dead(cell))
        if rest:
            self._bury([self._letter(cell.agent_id, message, reason) for message in rest], [])

    def _letter(self, recipient_id: str, message: AgentMessage, reason: str) -> DeadLetter:
        return DeadLetter(message=message, recipient_id=recipient_id, reason=reason, at=self._env.clock.now())

    def _bury(self, letters: Sequence[DeadLetter], facts: Sequence[Fact]) -> None:
        env = self._env
        env.numbers.count("dead_letters", len(letters))

        def bury() -> Awaitable[None]:
            return env.store.mail.bury(letters, now=env.clock.now(), facts=facts)

        env.spawn(self._buried(bury(), bury), "dead letters")

    async def _buried(self, first: Awaitable[None], again: Callable[[], Awaitable[None]]) -> None:
        """See letters through to the disk; *first* has its place in the order of writes already."""
        try:
            await first
        except StoreError:
            await self._env.clock.sleep(self._env.settings.poll_seconds)
            await self._env.persist(again)

    async def redeliver(self, message_id: str) -> None:
        """Turn a dead letter into mail again. Raises LookupError when there is none."""
        self._env.check_running()
        for agent_id in await self._env.store.mail.redeliver(message_id, now=self._env.clock.now()):
            self._post.mail_waits(agent_id)
            self._env.bus.ring("mail", agent_id)


def not_running(instance: AgentInstance) -> DeadAgentError:
    """Return the error for mail to an agent that takes none."""
    why = f"it is {instance.status}"
    if instance.status is AgentStatus.RUNNING:
        why = "it is ending, or its node is gone"
    return DeadAgentError(
        f"Agent {instance.name!r} takes no messages: {why}",
        reason="not_running",
        agent_id=instance.agent_id,
        name=instance.name,
    )


def not_taken(cell: Cell, reason: str = "stopped") -> DeadAgentError:
    """Return the error for what comes to an agent that takes no more."""
    what = {"draining": "is draining", "node_lost": "was lost with its node"}.get(reason, "is stopping")
    return DeadAgentError(
        f"Agent {cell.name!r} {what}", reason=reason, agent_id=cell.agent_id, name=cell.name, began=False
    )
