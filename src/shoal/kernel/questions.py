"""Who waits for the answers of one agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.kernel.message import AgentMessage

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["Answer", "Questions"]

Answer = asyncio.Future[AgentMessage]


class Questions(dict[str, Answer]):
    """By message id: who waits for this agent's answer."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._cell = cell

    def _begun(self) -> set[str]:
        return {entry.message.message_id for entry in self._cell.entries.values() if entry.message is not None}

    def refuse_waiting(self, error: BaseException) -> None:
        """Tell those whose question no handler has begun that none will."""
        begun = self._begun()
        for message_id, future in list(self.items()):
            if message_id not in begun and not future.done():
                future.set_exception(error)

    def fail(self, error: Callable[[bool], BaseException], *, all_of_them: bool = True) -> None:
        """Tell all who wait, or those of begun handlers, that there will be no answer.

        *error* is told whether a handler has begun.
        """
        begun = self._begun()
        for message_id, future in list(self.items()):
            if not future.done() and (all_of_them or message_id in begun):
                future.set_exception(error(message_id in begun))
