"""One message through its agent's ``on_message``, and the answer back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shoal.errors import PayloadError, RequestFailedError, ResponseTimeoutError
from shoal.kernel.ending import enforce
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry

__all__ = ["again", "handle_message", "too_late"]

MAX_DELIVERIES = 5
FIRST_RETRY_SECONDS = 0.5


async def handle_message(cell: Cell, entry: Entry, message: AgentMessage) -> None:
    """Run the handler in the time that its asker waits, then answer, acknowledge or redeliver."""
    seconds = _time_left(cell, message)
    timer = None if seconds is None else cell.time.timer(seconds, lambda: too_late(entry))
    cell.post.received(cell, message)
    try:
        value = await cell.handle.invoke(entry.invocation)
        if not entry.stopping:
            cell.post.answer(cell, message, value)
    except asyncio.CancelledError as error:
        if entry.stopping:
            _refuse(cell, message, ResponseTimeoutError(f"Agent {cell.name!r} did not answer in time"))
            await again(cell, message, "its handler's time was over")
            return
        if entry.asyncio_task is None or entry.asyncio_task.cancelling():
            raise
        await _failed(cell, message, error)  # the agent's own: it awaited something that was cancelled
        return
    except PayloadError as error:
        _refuse(cell, message, RequestFailedError(str(error), error_type="PayloadError", error_message=str(error)))
    except Exception as error:  # noqa: BLE001  whatever the agent's code raises belongs to the asker
        await _failed(cell, message, error)
        return
    finally:
        if timer is not None:
            timer.cancel()
        cell.handler_done(entry)
    if message.durable:
        await cell.env.store.mail.ack(cell.agent_id, [message.message_id], now=cell.env.clock.now())


def _time_left(cell: Cell, message: AgentMessage) -> float | None:
    if message.expects_reply and message.expires_at is not None:
        return None  # whoever asked keeps the time; the cell hears when it waits no longer
    return cell.env.limits.task_timeout_seconds


def too_late(entry: Entry) -> None:
    """End a handler whose time is over, or whose asker waits no longer."""
    if entry.stopping:
        return
    entry.stopping = True
    assert entry.asyncio_task is not None
    entry.asyncio_task.cancel()
    env = entry.cell.env
    env.spawn(enforce(entry, env.settings.cancel_grace_seconds), f"end a handler of {entry.cell.name}")


async def _failed(cell: Cell, message: AgentMessage, error: BaseException) -> None:
    """Tell the asker, note it, and let a durable message come again."""
    if cell.handle.exited.done() or cell.closing:
        _refuse(cell, message, cell.post.dead(cell))
        return
    failure = Failure.of(error)
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
    await again(cell, message, failure.text)


async def again(cell: Cell, message: AgentMessage, text: str) -> None:
    """Let a durable message that was not handled come again, later each time; the fifth time it is a dead letter."""
    if message.durable:
        now = cell.env.clock.now()
        wait = FIRST_RETRY_SECONDS * 2 ** (message.delivery_count - 1)
        await cell.env.store.mail.nack(
            cell.agent_id,
            message.message_id,
            text,
            now=now,
            retry_at=cell.post.later(now, wait),
            max_deliveries=MAX_DELIVERIES,
        )
        cell.registration.stored_mail = True
        cell.env.clock.call_later(wait, cell.fetch)


def _refuse(cell: Cell, message: AgentMessage, error: BaseException) -> None:
    future = cell.asks.get(message.message_id)
    if future is not None and not future.done():
        future.set_exception(error)
