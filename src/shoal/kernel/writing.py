"""Messages as records: their ids, their times, and data as the receiver will see it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shoal.errors import ChainTooDeepError, MessageTooLargeError
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.env import Env

__all__ = ["Writing"]

MAX_CHAIN = 64


class Writing:
    """Makes the messages of one node. Data that cannot be sent raises PayloadError or MessageTooLargeError."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._most_bytes = env.settings.max_payload_bytes
        self._life = env.clock.new_id()
        self._made = 0

    def _new_id(self) -> str:
        """Return an id that no other message has: unique by the life of this node, and a count in it."""
        self._made += 1
        return f"{self._life}.{self._made:x}"

    def _data(self, data: Any) -> object:
        return checked(data, "data", self._most_bytes, MessageTooLargeError)[0]

    def expiry(self, seconds: float | None = None) -> datetime:
        """Return when a message of now expires that may wait for *seconds* (None: as configured)."""
        return self._env.clock.now() + timedelta(seconds=seconds or self._env.settings.message_ttl_seconds)

    def message(
        self, sender: Cell | None, message_type: str, data: Any, *, message_id: str | None = None, **fields: Any
    ) -> AgentMessage:
        """Return a message of *sender* (None: of the runtime)."""
        return AgentMessage(
            message_id=message_id or self._new_id(),
            sender_id=self._env.runtime_id if sender is None else sender.agent_id,
            sender_name="runtime" if sender is None else sender.name,
            message_type=message_type,
            data=self._data(data),
            timestamp=self._env.clock.now(),
            **fields,
        )

    def question(
        self, entry: Entry | None, agent_id: str, message_type: str, data: Any, seconds: float | None
    ) -> AgentMessage:
        """Return a question of an invocation (None: of the runtime) that has *seconds* for its answer."""
        now = self._env.clock.now()
        return AgentMessage(
            message_id=self._new_id(),
            sender_id=self._env.runtime_id if entry is None else entry.cell.agent_id,
            sender_name="runtime" if entry is None else entry.cell.name,
            recipient_ids=(agent_id,),
            message_type=message_type,
            data=self._data(data),
            timestamp=now,
            expires_at=None if seconds is None else now + timedelta(seconds=seconds),
            expects_reply=True,
            chain=() if entry is None else _chain(entry),
        )

    def response(self, sender: Cell, message: AgentMessage, data: Any, expires_at: datetime | None) -> AgentMessage:
        """Return the answer to *message*; one that is handed straight to its asker never waits, so it never expires."""
        return AgentMessage(
            message_id=self._new_id(),
            sender_id=sender.agent_id,
            sender_name=sender.name,
            recipient_ids=(message.sender_id,),
            message_type="response",
            data=self._data(data),
            timestamp=self._env.clock.now(),
            correlation_id=message.correlation_id or message.message_id,
            expires_at=expires_at,
        )


def _chain(entry: Entry) -> tuple[str, ...]:
    """Return the chain of what this invocation asks. Raises ChainTooDeepError."""
    chain = (*entry.invocation.chain, entry.invocation.invocation_id)
    if len(chain) > MAX_CHAIN:
        raise ChainTooDeepError(MAX_CHAIN)
    return chain
