"""The handler lane of one agent: its messages go through ``on_message`` one after the other, or several at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shoal.kernel.handler import handle_beside, handle_in_turn
from shoal.kernel.message import AgentMessage
from shoal.kernel.redelivery import comes_again

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry

__all__ = ["Lane"]


class Lane:
    """Holds one handler, and as many more as the agent's ``max_concurrent_messages`` allows; they begin in the order of the
    messages. Those admitted by their call chain run beside it, while it waits for them."""

    __slots__ = ("_cell", "_idle", "_more", "_most", "_noting", "entry")

    def __init__(self, cell: Cell, most: int = 1) -> None:
        self._cell = cell
        self._most = most - 1  # beside the one that holds the lane
        self._more: set[Entry] = set()  # those
        self._noting: Entry | None = None  # its begin is being noted; who comes behind it begins after it
        self.entry: Entry | None = None  # the handler that holds the lane
        self._idle: asyncio.Task[Any] | None = None  # has handled its message, and runs what comes in this turn

    def free(self) -> bool:
        """Tell whether the next message's handler may begin."""
        if self._noting is not None or (self.entry is not None and len(self._more) >= self._most):
            return False
        cell = self._cell
        if cell.paused or cell.starting or cell.closing or cell.handle.exited.done():
            return False
        return cell.abilities.takes_messages

    @property
    def blocker(self) -> Entry | None:
        """Return the handler that must end before the next message's begins: with several, any of them may be the first."""
        return None if self._most else self.entry

    def start(self, message: AgentMessage) -> None:
        """Begin to handle a message; the lane is free."""
        if self.entry is not None:
            self._more.add(self.start_beside(message))
            return
        self.entry = self._enter(message)
        if self._idle is not None:
            self.entry.asyncio_task = self._idle
        else:
            self._run(self.entry, message)

    def start_beside(self, message: AgentMessage) -> Entry:
        """Begin to handle a message beside the one that holds the lane: its call chain waits in this agent, say."""
        cell, entry = self._cell, self._enter(message)
        entry.asyncio_task = cell.env.spawn(handle_beside(cell, entry, message), cell.name)
        return entry

    def go_on(self) -> None:
        """Begin to handle the first messages of the mailbox, as far as the lane is free."""
        while self.free():
            message = self._cell.inbox.mailbox.next_for_handler()
            if message is None:
                return
            self.start(message)

    def _enter(self, message: AgentMessage) -> Entry:
        entry = self._cell.enter("on_message", message, chain=message.chain)
        entry.message = message
        if self._most and comes_again(message):
            self._noting = entry
        return entry

    def noted(self, entry: Entry) -> None:
        """Let the next handler begin: the begin of this one is on disk."""
        if self._noting is entry:
            self._noting = None
            self._cell.inbox.pump()

    def _run(self, entry: Entry, message: AgentMessage) -> None:
        cell = self._cell
        entry.asyncio_task = cell.env.spawn(handle_in_turn(cell, entry, message), cell.name)

    def following(self) -> Entry | None:
        """Take the next message into the lane, if it is free; whoever asks runs the handler."""
        if self._most:
            return None  # each has an asyncio task of its own, so that they begin in order
        message = self._cell.inbox.mailbox.next_for_handler() if self.free() else None
        if message is not None:
            self.entry = self._enter(message)
            return self.entry
        return None

    async def stay(self, asyncio_task: asyncio.Task[Any]) -> Entry | None:
        """Let others have a turn of the event loop; return the handler that *asyncio_task*, which asks, is to run then."""
        if self._most or self._idle is not None or not self.free():
            return None
        self._idle = asyncio_task
        try:
            self.go_on()
            await self._cell.env.clock.sleep(0)
        except asyncio.CancelledError:
            self._idle = None
            self._begin_elsewhere(asyncio_task)
            raise
        finally:
            self._idle = None
        entry = self.entry
        return entry if entry is not None and entry.asyncio_task is asyncio_task else None

    def _begin_elsewhere(self, cancelled: asyncio.Task[Any]) -> None:
        """Run the handler that came in this turn in an asyncio task of its own."""
        entry = self.entry
        if entry is None or entry.message is None or entry.asyncio_task is not cancelled:
            return
        if entry.stopping or self._cell.closing:
            self.leave(entry)  # it was told to end before it began
        else:
            self._run(entry, entry.message)

    def leave(self, entry: Entry) -> None:
        """End a handler. While its end is written, another asyncio task goes on with the mail."""
        cell = self._cell
        cell.leave(entry)
        if self._noting is entry:
            self._noting = None
        if entry in self._more:
            self._more.discard(entry)
            cell.inbox.pump()
        elif self.entry is entry:
            self.entry = None
            if entry.stored or (entry.message is not None and entry.message.durable):
                cell.inbox.pump()
