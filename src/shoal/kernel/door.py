"""An agent's address on the bus, through its lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from shoal.kernel.message import AgentMessage

if TYPE_CHECKING:
    from shoal.kernel.inbox import Inbox

__all__ = ["Door"]


class Door:
    """Stands behind the address of one agent (``Receiver``), whichever of its cells lives.

    It outlives a cell that died in a pause and will be started again: who has asked it before waits on, since the question
    is in the store, and the next cell answers it. Between the two it refuses what comes.
    """

    __slots__ = ("inbox",)

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message."""
        return self.inbox.offer(message)

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take a message that expects a reply."""
        return self.inbox.ask(message)

    def pass_on(self, inbox: Inbox) -> None:
        """Let the next cell's inbox answer what the last one was asked."""
        inbox.inherit(self.inbox)
        self.inbox = inbox
