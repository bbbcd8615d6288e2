"""An agent's address on the bus, through its lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from shoal.kernel.message import AgentMessage

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["Door"]


class Door:
    """Stands behind the address of one agent (``Receiver``), whichever of its cells lives.

    It outlives a cell that died in a pause and will be started again: who has asked it before waits on, since the question
    is in the store, and the next cell answers it. Between the two it refuses what comes.
    """

    __slots__ = ("_inbox", "cell")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._inbox = cell.inbox

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message."""
        return self._inbox.offer(message)

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take a message that expects a reply."""
        return self._inbox.ask(message)

    def pass_on(self, cell: Cell) -> None:
        """Let the next cell answer what the last one was asked."""
        cell.inbox.inherit(self._inbox)
        self.cell, self._inbox = cell, cell.inbox
