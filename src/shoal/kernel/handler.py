"""One message through its agent's ``on_message``, and the answer back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shoal.errors import PayloadError, RequestFailedError, ResponseTimeoutError
from shoal.kernel.ending import enforce
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage
from shoal.kernel.redelivery import again, begin, comes_again

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.owntime import OwnTimer

__all__ = ["Watch", "handle_beside", "handle_in_turn", "handle_message", "too_late"]

BURST = 64
"""So many messages of one agent are handled at most before others have their turn of the event loop."""


async def handle_in_turn(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Handle one message after the other in one asyncio task, which costs more than a short handler.

    It stays for one turn of the event loop without mail: who was answered often asks again at once. After a handler
    that was told to end, or whose end must be written, the next has an asyncio task of its own.
    """
    lane, asyncio_task = cell.lane, entry.asyncio_task
    assert asyncio_task is not None
    watch = Watch(cell)
    handled = 0
    try:
        while True:
            await handle_message(cell, entry, message, watch)
            if entry.stopping or asyncio_task.cancelling():
                return
            handled += 1
            following = lane.following() if handled < BURST else None
            if following is None:
                handled = 0
                watch.rest()
                following = await lane.stay(asyncio_task)
                if following is None:
                    return
            entry = following
            entry.asyncio_task = asyncio_task
            assert entry.message is not None
            message = entry.message
    finally:
        watch.end()
        cell.inbox.pump()


async def handle_beside(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Handle one message beside the lane: its call chain waits in this agent."""
    watch = Watch(cell)
    try:
        await handle_message(cell, entry, message, watch)
    finally:
        watch.end()


async def handle_message(cell: Cell, entry: Entry, message: AgentMessage, watch: Watch) -> None:
    """Run the handler in the time that its asker waits, then answer, acknowledge or redeliver."""
    cell.post.received(cell, message)
    why = None  # it was not handled
    try:
        if comes_again(message):
            if not await begin(cell, message):
                return  # whoever has it now sees to it
            cell.lane.noted(entry)
        watch.begin(entry, message)
        value = await cell.handle.invoke(entry.invocation)
        if entry.stopping:
            if value is not None:  # None: it has sent its answer itself, or has none
                cell.post.asking.late(message)
        elif message.expects_reply or value is not None:
            _answer(cell, message, value)
    except asyncio.CancelledError as error:
        if entry.stopping:
            why = "its handler's time was over"
            _refuse(cell, message, ResponseTimeoutError(f"Agent {cell.name!r} did not answer in time"))
        elif entry.asyncio_task is None or entry.asyncio_task.cancelling():
            _refuse(cell, message, cell.post.dead(cell))  # now: on_stop and what else runs may take its time
            raise
        else:
            why = _failed(cell, message, error)  # the agent's own: it awaited something that was cancelled
    except Exception as error:  # noqa: BLE001  whatever the agent's code raises belongs to the asker
        why = _failed(cell, message, error)
    finally:
        cell.lane.leave(entry)
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
    env, exited = cell.env, cell.handle.exited
    if message.durable and why is not None and exited.done() and exited.result().reason != "stopped":
        await again(cell, message, why)  # it may be what kills its agent: it is not tried for ever
    elif why is not None and (exited.done() or cell.closing):
        return  # given back with the cell
    elif message.durable and why is not None:
        await again(cell, message, why)
    else:
        await env.persist(lambda: env.store.mail.ack(cell.agent_id, [message.message_id], now=env.clock.now()))


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

    def rest(self) -> None:
        """Watch nobody until the next begins."""
        self._entry = None

    def end(self) -> None:
        """Watch no more."""
        self._entry = None
        if self._timer is not None:
            self._timer.cancel()


def too_late(entry: Entry) -> None:
    """End a handler whose time is over, or whose asker waits no longer."""
    cell = entry.cell
    if entry.stopping or entry.invocation.invocation_id not in cell.entries:
        return  # it is ending, or has ended, and only its end is being written
    entry.stopping = True
    assert entry.asyncio_task is not None
    entry.asyncio_task.cancel()
    cell.env.spawn(_enforce(entry), f"end a handler of {cell.name}")


async def _enforce(entry: Entry) -> None:
    """See to the end of a handler. Its grace is its agent's own time: what is held by a pause cannot end."""
    assert entry.asyncio_task is not None
    try:
        with entry.cell.time.limit(entry.cell.env.settings.cancel_grace_seconds):
            await asyncio.wait([entry.asyncio_task])
    except TimeoutError:
        await enforce(entry, 0.0)
    if entry.invocation.invocation_id in entry.cell.entries:
        await _never_began(entry)


async def _never_began(entry: Entry) -> None:
    """Leave the lane for a handler whose asyncio task was cancelled before its first step: it has not done so itself."""
    cell, message = entry.cell, entry.message
    assert message is not None
    cell.lane.leave(entry)
    cell.inbox.pump()
    if message.durable or entry.stored:
        await _settle(cell, message, "its handler's time was over")


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
    if future is None and not message.durable:  # a durable one comes again
        cell.post.asking.unanswered(message, error)
    elif future is not None and not future.done():
        future.set_exception(error)
