"""The request that some code of an agent is answering, and its answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import AlreadyAnsweredError, PayloadError, RequestError
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.kernel.threads import lent_thread
from shoal.services import codes
from shoal.services.requests import Envelope, RequestHeader, error_payload

if TYPE_CHECKING:
    from shoal.kernel.context import AgentContext
    from shoal.kernel.ports import Clock

__all__ = ["Current", "current_request", "wait_in_thread"]

T = TypeVar("T")
LOOK_SECONDS = 0.05


class Current:
    """One request, or one task, under way. ``message`` is None in a task: then the answer is kept, not sent."""

    __slots__ = ("_clock", "_context", "answer", "error", "header", "loop", "message", "payload", "sending")

    def __init__(
        self,
        context: AgentContext,
        clock: Clock,
        payload: dict[str, Any],
        message: AgentMessage | None = None,
        header: RequestHeader | None = None,
    ) -> None:
        self._context = context
        self._clock = clock
        self.payload = payload
        self.message = message
        self.header = header
        self.loop = asyncio.get_running_loop()
        self.answer: dict[str, Any] | None = None
        self.error: RequestError | None = None
        self.sending: asyncio.Task[None] | None = None

    @property
    def answered(self) -> bool:
        """Tell whether the agent's code has answered."""
        return self.answer is not None or self.error is not None

    def respond(self, fields: Mapping[str, Any]) -> None:
        """Answer at once. Raises AlreadyAnsweredError, PayloadError."""
        self._check()
        copy, _ = checked(dict(fields), "send_response()")
        assert isinstance(copy, dict)
        self.answer = copy
        self._send()

    def fail(self, error: RequestError) -> None:
        """Answer with an error, at once. Raises AlreadyAnsweredError."""
        self._check()
        self.error = error
        self._send()

    def _check(self) -> None:
        if self.answered:
            raise AlreadyAnsweredError

    def data(self) -> dict[str, Any]:
        """Return the answer as the data of a message."""
        assert self.header is not None
        header = self.header.reply(self._clock.micros())
        if self.error is not None:
            return Envelope(header, error_payload(self.error), failed=True).to_data()
        return Envelope(header, self.answer or {}).to_data()

    def _send(self) -> None:
        if self.message is None:
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:  # a thread
            here = None
        if here is self.loop:
            self._begin_sending()
        else:
            self.loop.call_soon_threadsafe(self._begin_sending)

    def _begin_sending(self) -> None:
        assert self.message is not None
        self.sending = self.loop.create_task(self._sent(self.message), name="answer")

    async def _sent(self, message: AgentMessage) -> None:
        """Send the answer; who asked hears at once also of one that cannot be sent."""
        try:
            await self._context.reply(message, self.data())
        except PayloadError as error:
            self.error = RequestError(codes.EXECUTION_ERROR, f"the answer cannot be sent: {error}")
            await self._context.reply(message, self.data())


current_request: ContextVar[Current | None] = ContextVar("shoal_request", default=None)
"""The request that this asyncio task or thread answers."""


def wait_in_thread(awaitable: Awaitable[T], loop: asyncio.AbstractEventLoop, context: AgentContext) -> T:
    """Wait in a thread for what *loop* does; a cancelled request cancels it."""
    waiting = asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), loop)
    over = threading.Event()
    waiting.add_done_callback(lambda _: over.set())
    with lent_thread():
        while not over.wait(LOOK_SECONDS):
            if context.is_stopping():
                waiting.cancel()
                raise RequestError(codes.CANCELLED, "who asked waits no longer, or the agent ends")
    try:
        return waiting.result()
    except concurrent.futures.CancelledError:
        raise RequestError(codes.CANCELLED, "what it waited for was cancelled") from None


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
