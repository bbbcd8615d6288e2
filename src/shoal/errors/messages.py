"""Errors of messages."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.root import ShoalError

__all__ = [
    "ChainTooDeepError",
    "DeadlockError",
    "MessageError",
    "MessageExpiredError",
    "NoHandlerError",
    "RequestFailedError",
    "ResponseTimeoutError",
    "WorkMessageError",
]


class MessageError(ShoalError):
    """Something about one message."""


class ResponseTimeoutError(MessageError, TimeoutError):
    """No answer came in time; the agent asked is alive."""


class MessageExpiredError(MessageError, TimeoutError):
    """The message's time to live ended before anybody took it."""


class NoHandlerError(MessageError, RuntimeError):
    """The agent asked has no ``on_message``, so it can never answer."""


class RequestFailedError(MessageError, RuntimeError):
    """The handler of the agent asked raised. ``box`` names it when it is a box."""

    def __init__(
        self,
        text: str,
        *,
        error_type: str = "",
        error_message: str = "",
        traceback: str = "",
        box: str | None = None,
    ) -> None:
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback
        self.box = box
        super().__init__(text, note=traceback or None)


class DeadlockError(MessageError, RuntimeError):
    """The wait could never end: each agent of ``cycle`` waits for the next."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle: tuple[str, ...] = tuple(cycle)
        super().__init__(f"deadlock: {' -> '.join(self.cycle)}")


class ChainTooDeepError(MessageError, RuntimeError):
    """A chain of calls is longer than 64."""

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        super().__init__(f"call chain longer than {limit}")


class WorkMessageError(MessageError, ValueError):
    """A message that gives work to somebody has not the form of one. Its text names each fault by its path."""
