"""One message through its agent's ``on_message``, and the answer back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shoal.errors import PayloadError, RequestFailedError, ResponseTimeoutError
from shoal.kernel.ending import enforce
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage
from shoal.kernel.redelivery import again

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.owntime import OwnTimer

__all__ = ["Watch", "handle_beside", "handle_burst", "handle_message", "handler_entry", "too_late"]

BURST = 64
"""So many messages of one agent are handled at most before others have their turn."""


def handler_entry(cell: Cell, message: AgentMessage) -> Entry:
    """Register the handler of *message* with its cell."""
    entry = cell.enter("on_message", message, chain=message.chain)
    entry.message = message
    return entry


async def handle_burst(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Handle one message after the other in one asyncio task, which costs more than a short handler.

    After one that was told to end, or whose end must be written, the next has an asyncio task of its own.
    """
    inbox, asyncio_task = cell.inbox, entry.asyncio_task
    watch = Watch(cell)
    try:
        for place in range(1, BURST + 1):
            watch.begin(entry, message)
            await handle_message(cell, entry, message)
            if entry.stopping or cell.lane is not None or place == BURST or not inbox.may_handle():
                return
            following = inbox.mailbox.next_for_handler()
            if following is None:
                return
            message, entry = following, handler_entry(cell, following)
            cell.lane, entry.asyncio_task = entry, asyncio_task
    finally:
        watch.end()
        inbox.pump()


async def handle_beside(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Handle one message beside the lane: its call chain waits in this agent."""
    watch = Watch(cell)
    watch.begin(entry, message)
    try:
        await handle_message(cell, entry, message)
    finally:
        watch.end()


async def handle_message(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Run the handler in the time that its asker waits, then answer, acknowledge or redeliver."""
    cell.post.received(cell, message)
    why = None  # it was not handled
    try:
        value = await cell.handle.invoke(entry.invocation)
        if not entry.stopping:
            _answer(cell, message, value)
    except asyncio.CancelledError as error:
        if entry.stopping:
            why = "its handler's time was over"
            _refuse(cell, message, ResponseTimeoutError(f"Agent {cell.name!r} did not answer in time"))
        elif entry.asyncio_task is None or entry.asyncio_task.cancelling():
            raise
        else:
            why = _failed(cell, message, error)  # the agent's own: it awaited something that was cancelled
    except Exception as error:  # noqa: BLE001  whatever the agent's code raises belongs to the asker
        why = _failed(cell, message, error)
    finally:
        cell.inbox.handler_done(entry)
    if message.durable or entry.stored:
        await _settle(cell, message, why)


def _answer(cell: Cell, message: AgentMessage, value: Any) -> None:
    """Send back what the handler returned; when that is not accepted, the asker hears why, and the message is handled."""
    try:
        cell.post.asking.answer(cell, message, value)
    except PayloadError as error:
        _refuse(cell, message, RequestFailedError(str(error), error_type="PayloadError", error_message=str(error)))


async def _settle(cell: Cell, message: AgentMessage, why: str | None) -> None:
    """Remove a message that was handled from the store; a durable one that was not comes again."""
    if why is None:
        await cell.env.store.mail.ack(cell.agent_id, [message.message_id], now=cell.env.clock.now())
    elif cell.handle.exited.done() or cell.closing:
        return  # given back with the cell
    elif message.durable:
        await again(cell, message, why)
    else:
        await cell.env.store.mail.ack(cell.agent_id, [message.message_id], now=cell.env.clock.now())


class Watch:
    """Keeps the time of the handlers that one asyncio task runs, one after the other, with one timer.

    A handler has the time that its asker waits (the cell hears when it waits no longer), else that of a task.
    """

    __slots__ = ("_began", "_cell", "_entry", "_limit", "_timer")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._entry: Entry | None = None
        self._began = 0.0
        self._timer: OwnTimer | None = None
        self._limit = cell.env.limits.task_timeout_seconds

    def begin(self, entry: Entry, message: AgentMessage) -> None:
        """Watch this handler from now on."""
        if self._limit is None or (message.expects_reply and message.expires_at is not None):
            self._entry = None
            return
        self._entry = entry
        self._began = self._cell.time.now()
        if self._timer is None:
            self._timer = self._cell.time.timer(self._limit, self._strike)

    def _strike(self) -> None:
        self._timer = None
        if self._entry is not None and self._limit is not None:
            left = self._began + self._limit - self._cell.time.now()
            if left > 0:  # it began after the timer was set
                self._timer = self._cell.time.timer(left, self._strike)
            else:
                too_late(self._entry)

    def end(self) -> None:
        """Watch no more."""
        self._entry = None
        if self._timer is not None:
            self._timer.cancel()


def too_late(entry: Entry) -> None:
    """End a handler whose time is over, or whose asker waits no longer."""
    if entry.stopping:
        return
    entry.stopping = True
    assert entry.asyncio_task is not None
    entry.asyncio_task.cancel()
    env = entry.cell.env
    env.spawn(enforce(entry, env.settings.cancel_grace_seconds), f"end a handler of {entry.cell.name}")


def _failed(cell: Cell, message: AgentMessage, error: BaseException) -> str:
    """Tell the asker that the handler failed, and note it; return why as text."""
    failure = Failure.of(error)
    if cell.handle.exited.done() or cell.closing:
        _refuse(cell, message, cell.post.dead(cell))
        return failure.text
    _refuse(
        cell,
        message,
        RequestFailedError(
            f"{cell.name!r} failed: {failure.text}",
            error_type=failure.error_type,
            error_message=failure.message,
            traceback=failure.traceback,
        ),
    )
    cell.post.hook_failed(cell, "on_message", failure)
    return failure.text


def _refuse(cell: Cell, message: AgentMessage, error: BaseException) -> None:
    future = cell.inbox.asks.get(message.message_id)
    if future is not None and not future.done():
        future.set_exception(error)
