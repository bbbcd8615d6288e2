"""What runs in a child at the moment: each entry into the agent's code, until its answer has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.faults import rebuild_error, remote_error, to_record
from shoal.errors import ProtocolError
from shoal.kernel.adjusted import CLOSE_MICROS
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock, Invocation

__all__ = ["Invocations"]

_machine = RealClock()  # which the child has, too


class Invocations:
    """The open invocations of one child, by id."""

    def __init__(self, send: Callable[[bytes], None], clock: Clock) -> None:
        """Write frames with *send*. Their size is not judged here: the values in them were when they came in.

        With each the child is told the time of *clock*: how far it is ahead of the machine's.
        """
        self._send = send
        self._clock = clock
        self._ahead = 0
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self.open: dict[str, Invocation] = {}

    async def run(self, invocation: Invocation) -> Any:
        """Send it to the child and return the hook's value, or raise what it raised there."""
        key = invocation.invocation_id
        frame = wire.encode_record(_as_frame(invocation, self._microseconds_ahead()))
        self._answers[key] = asyncio.get_running_loop().create_future()
        self.open[key] = invocation
        self._send(frame)
        try:
            return await self._ended(key)
        finally:
            del self._answers[key], self.open[key]

    def _microseconds_ahead(self) -> int:
        if not self._clock.virtual:  # then a child has a time of its own
            ahead = self._clock.micros() - _machine.micros()
            if abs(ahead - self._ahead) > CLOSE_MICROS:
                self._ahead = ahead
        return self._ahead

    async def _ended(self, key: str) -> Any:
        """Wait for the hook's end, whoever cancels meanwhile: each cancellation is passed on to it."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                return await self._answers[key]
            except asyncio.CancelledError as error:
                cancelled = error
                self._open_answer(key)
                self._send(wire.encode_record(wire.Cancel(id=key)))
            except _HookCancelled as error:
                if cancelled is not None:
                    raise cancelled from None
                raise remote_error(error.record) from None

    def _open_answer(self, key: str) -> asyncio.Future[Any] | None:
        """Return what an answer is set on, None when nobody waits for it. A cancellation has ended the future that was
        waited for, not the wait."""
        answer = self._answers.get(key)
        if answer is not None and answer.cancelled():
            answer = self._answers[key] = asyncio.get_running_loop().create_future()
        return None if answer is None or answer.done() else answer

    def done(self, record: wire.Done) -> None:
        """Take an answer; one that nobody waits for is ignored. Raises ProtocolError."""
        answer = self._open_answer(record.id)
        if answer is None:
            return
        if record.error is None:
            try:
                answer.set_result(msgspec.json.decode(record.data))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise ProtocolError(f"an answer that is not JSON: {error}") from None
        elif record.error.type == "CancelledError":
            answer.set_exception(_HookCancelled(record.error))
        else:
            answer.set_exception(rebuild_error(record.error))

    def fail(self, error: Exception) -> None:
        """End all that are open: the child is gone."""
        for key in self._answers:
            answer = self._open_answer(key)
            if answer is not None:
                answer.set_exception(error)


class _HookCancelled(Exception):
    """A hook ended with CancelledError in the child."""

    def __init__(self, record: wire.ErrorRecord) -> None:
        self.record = record
        super().__init__(record.text)


def _as_frame(invocation: Invocation, ahead: int) -> wire.Invoke:
    argument = invocation.argument
    task = invocation.task
    if invocation.hook == "execute_task":
        argument, task = None, invocation.argument
    elif isinstance(argument, BaseException):
        argument = to_record(argument)
    return wire.Invoke(
        id=invocation.invocation_id,
        hook=invocation.hook,
        argument=argument,
        task=task,
        chain=invocation.chain,
        ahead=ahead,
    )
